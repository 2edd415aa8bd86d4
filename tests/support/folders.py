"""Looking into folders that other processes write and empty meanwhile."""

from __future__ import annotations

import os
from pathlib import Path


def files_under(folder: Path, suffix: str = "") -> list[Path]:
    """Return the files in and below `folder` whose names end so, sorted; a folder that goes meanwhile holds none.

    `Path.rglob` of Python 3.11 raises FileNotFoundError then.
    """
    return sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names if name.endswith(suffix))


def size_bytes_of(path: Path) -> int:
    """Return how long the file is; one that is gone has no bytes."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
