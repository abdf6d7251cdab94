"""One of the processes that `accelerate launch` starts: a generation with stubs, the log saying who made what.

accelerate launch --cpu --num_processes 2 -m tests.generate.accelerated FOLDER
"""

import os
import sys
from pathlib import Path

from tests.generate.stub_makers import StubVideos, StubViews, do_all, stub_generation

folder, rank = Path(sys.argv[1]), os.environ["LOCAL_RANK"]
videos, views = StubVideos(folder / f"log{rank}.txt", pause_s=0.3), StubViews(folder / f"log{rank}.txt", pause_s=0.1)
run = stub_generation(folder / "set.work", 8, videos=videos, views=views)
(folder / f"ready{rank}").touch()
while len(list(folder.glob("ready*"))) < int(os.environ["WORLD_SIZE"]):
    pass
do_all(run, folder / "set")
