"""How many files a process may have open: a login's usual 1,024 are too few for two hundred peers and their studies."""

from __future__ import annotations

import resource
from typing import Final

WANTED: Final = 65_536


def open_files_max() -> int:
    """Return how many files, sockets included, this process may have open at once, WANTED where nobody limits it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if soft == resource.RLIM_INFINITY else soft


def allow_many_open_files() -> int:
    """Raise this process's limit as far as the system lets it, to WANTED at most; return how many it may have now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
