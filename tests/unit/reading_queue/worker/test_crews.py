"""A process of a worker ends with the one that forked it, also where that one was gone before it could say so."""

from __future__ import annotations

import subprocess
import sys

# The middle process forks and is gone at once; the last one asks to end with it only when it is an orphan already.
ORPHAN = """
import os
from reading_queue.worker.crews import end_with_parent
if os.fork() == 0:
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            pass
        end_with_parent(parent)
        print("still here", flush=True)
    os._exit(0)
os.wait()
"""


def test_a_process_whose_parent_was_killed_before_it_asked_to_end_with_it_ends() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "", "it works on unwatched, with its memory and its connection to the database"
