"""Runs a generation with stubs once, then in children that are killed at random moments, until one ends by itself.

python -m tests.generate.killed_generations FOLDER COUNT KILLS
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.generate.stub_makers import StubVideos, StubViews, do_all, stub_generation

folder, count, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
work, out, log = folder / "set.work", folder / "set", folder / "log.txt"
chance = random.Random(5)


def child() -> None:
    videos, views = StubVideos(log, pause_s=0.01), StubViews(log, pause_s=0.01)
    do_all(stub_generation(work, count, videos=videos, views=views), out)


def start(length_s: float | None) -> int:
    """The exit status of a child, killed after so long."""
    pid = os.fork()
    if pid == 0:
        try:
            child()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    if length_s is not None:
        time.sleep(length_s)
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def finished() -> set[str]:
    return {str(path.parent.relative_to(work)) for path in work.glob("[vc]*/**/item.json")}


begin = time.monotonic()
whole = stub_generation(
    folder / "whole/set.work", count, videos=StubVideos(pause_s=0.01), views=StubViews(pause_s=0.01)
)
do_all(whole, folder / "whole/set")
length = time.monotonic() - begin

done = 0
for _ in range(kills):
    status = start(chance.uniform(0, 2 * length / kills))
    done += status != 0
    with log.open("a") as file:
        file.writelines(f"FINISHED {name}\n" for name in sorted(finished()))
assert start(None) == 0
print(done)
