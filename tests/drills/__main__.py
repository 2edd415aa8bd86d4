"""`make drills ONLY=road SEEDS=30`: run the drills, one line each; exit 1 when one found a problem."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.drills.road import Drill


def main() -> int:
    """Run every seed, one after the other; keep the folder of a drill that found a problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["road"], default="road", help="which drills")
    parser.add_argument("--seeds", type=int, default=30, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    options = parser.parse_args()
    failed = 0
    for seed in range(options.first, options.first + options.seeds):
        folder = Path(tempfile.mkdtemp(prefix=f"drill-{seed}-"))
        drill = Drill(seed, folder / "demo").run()
        killed = ", ".join(f"{victim} at {at} s" for at, victim, _ in drill.kills) or "nothing"
        print(f"seed {seed:3}  {drill.elapsed_s:5.1f} s  killed: {killed}", flush=True)
        for problem in drill.problems:
            print(f"    {problem}", flush=True)
        if drill.problems:
            failed += 1
            print(f"    kept: {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{options.seeds - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
