"""The browser and the tiny runs of other folders' tests are for these too."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / name) for name in ("export", "training")]
