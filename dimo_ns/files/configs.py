"""Where the files that come with dimo are: the folder configs, beside the package or installed within it."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CONFIGS = next(path for path in (PACKAGE / "configs", PACKAGE.parent / "configs") if path.is_dir())
