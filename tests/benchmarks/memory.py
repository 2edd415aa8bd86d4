"""The memory of process trees, as proportional set size (PSS): shared pages are counted once over all sharers.

Linux only: /proc/PID/smaps_rollup. MB are 10^6 bytes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc")
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


def parse_pss_mb(smaps_rollup: str) -> float:
    """Return the PSS of one process in MB out of its smaps_rollup."""
    found = _PSS.search(smaps_rollup)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def tree_of(pid: int) -> list[int]:
    """Return the process and all its descendants that live now."""
    children: dict[int, list[int]] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # ended meanwhile
            continue
        parent = int(text.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(stat.parent.name))
    tree, seen = [pid], 0
    while seen < len(tree):
        tree += children.get(tree[seen], [])
        seen += 1
    return tree


def pss_mb(*pids: int) -> float:
    """Return the PSS of these processes with their descendants, in MB."""
    total = 0.0
    for member in {member for pid in pids for member in tree_of(pid)}:
        try:
            total += parse_pss_mb((PROC / str(member) / "smaps_rollup").read_text())
        except OSError:  # ended meanwhile
            continue
    return total


class Peak:
    """The largest value seen, in MB."""

    mb = 0.0


@contextmanager
def peak_pss(*pids: int, every_s: float = 0.1) -> Iterator[Peak]:
    """Sample the PSS of these process trees while the block runs."""
    peak, ended = Peak(), threading.Event()

    def sample() -> None:
        while not ended.wait(every_s):
            peak.mb = max(peak.mb, pss_mb(*pids))

    sampler = threading.Thread(target=sample, name="pss", daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        ended.set()
        sampler.join()
        peak.mb = max(peak.mb, pss_mb(*pids))
