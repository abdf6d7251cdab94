"""Files that outlast a loss of power."""

import os
from pathlib import Path


def flush(path: Path) -> None:
    """To the disk: what was written to a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
