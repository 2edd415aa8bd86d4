"""`make bench ONLY=ingest`: run benchmarks, print a table, write build/bench.json.

A goal that is missed is told, not an error. The whole run ends within its time limit: what was not reached by then is
reported as not measured. Exit 1 when something could not be measured.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tests.benchmarks.harness import REGISTERED, Bench, Benchmark, Report, Row, not_measured, select, table
from tests.support.processes import ProcessStarter

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build"
PART_LIMIT_S = 19 * 60
WHOLE_LIMIT_S = 60 * 60
_OUT_OF_TIME = "the run's time limit was reached"


class OutOfTimeError(Exception):
    """The run has used up its time."""


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    only = "only these ids or first parts of ids, comma separated or several times; ingest.s* for any beginning"
    parser.add_argument("--only", action="append", default=[], metavar="IDS", help=only)
    parser.add_argument("--list", action="store_true", help="name the ids and their goals, measure nothing")
    parser.add_argument("--out", type=Path, default=BUILD / "bench.json", help="the report")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # what it started ends with it
    load_benchmarks()
    try:
        chosen = select(REGISTERED, ",".join(options.only))
    except ValueError as exc:
        parser.error(f"{exc}; --list names them")
    if options.list:
        for known, ids in chosen:
            for goal in known.goals:
                if goal.id in ids:
                    print(f"{goal.id:24} {goal.words} {goal.unit}")
        return 0
    rows = Runner(Report(options.out), PART_LIMIT_S if options.only else WHOLE_LIMIT_S).run(chosen)
    print(f"\n{table(rows)}\n\n{options.out}")
    return 1 if any(row.value is None for row in rows) else 0


def load_benchmarks() -> None:
    """Import every bench_*.py, which registers what it has."""
    for path in sorted(HERE.glob("bench_*.py")):
        importlib.import_module(f"tests.benchmarks.{path.stem}")


class Runner:
    """Runs benchmarks one after the other; rows are in the report as soon as they are measured."""

    def __init__(self, report: Report, limit_s: int) -> None:
        self._report = report
        self._limit_s = limit_s
        self._rows: list[Row] = []
        self._out_of_time = False

    def run(self, chosen: list[tuple[Benchmark, frozenset[str]]]) -> list[Row]:
        """Return the rows of these benchmarks."""
        signal.signal(signal.SIGALRM, _raise_out_of_time)
        signal.alarm(self._limit_s)
        for known, ids in chosen:
            if self._out_of_time:
                self._put_missing(known, ids, _OUT_OF_TIME)
            else:
                self._run_one(known, ids)
        signal.alarm(0)
        return self._rows

    def _run_one(self, known: Benchmark, ids: frozenset[str]) -> None:
        name = known.function.__name__
        _say(f"{name}: {', '.join(sorted(ids))}")
        started = time.monotonic()
        recorded: set[str] = set()
        problem = "the benchmark recorded no value"
        try:
            with _workspace(name) as (directory, processes):
                goals = {goal.id: goal for goal in known.goals}
                bench = Bench(goals, ids, directory, processes, _data(), _say, self._put, recorded)
                known.function(bench)
        except OutOfTimeError:
            problem = _OUT_OF_TIME
            self._out_of_time = True
        except Exception as exc:  # noqa: BLE001 -- one benchmark's border: the others still run
            problem = f"{type(exc).__name__}: {exc}"
            traceback.print_exc()
        self._put_missing(known, ids - recorded, problem)
        _say(f"  {time.monotonic() - started:.0f} s")

    def _put_missing(self, known: Benchmark, ids: frozenset[str], problem: str) -> None:
        for goal in known.goals:
            if goal.id in ids:
                self._put(not_measured(goal, problem))

    def _put(self, row: Row) -> None:
        machine = {"machine": platform.platform(), "cores": os.cpu_count(), "load_before": _LOAD_AT_START}
        row = Row(row.id, row.value, row.unit, row.goal, row.met, row.detail | machine)
        self._rows.append(row)
        self._report.put(row)
        _say(f"  {row.id} = {row.value} {row.unit} (goal {row.goal})")


@contextmanager
def _workspace(name: str) -> Iterator[tuple[Path, ProcessStarter]]:
    BUILD.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=BUILD))
    processes = ProcessStarter(directory / "logs")
    try:
        yield directory, processes
    finally:
        processes.end_all()
        shutil.rmtree(directory, ignore_errors=True)


def _data() -> Path | None:
    named = os.environ.get("BENCH_DATA")
    if not named:
        return None
    if not Path(named).is_dir():
        raise FileNotFoundError(f"BENCH_DATA is not a directory: {named}")
    return Path(named).resolve()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _raise_out_of_time(_number: int, _frame: FrameType | None) -> None:
    raise OutOfTimeError


_LOAD_AT_START = [round(load, 2) for load in os.getloadavg()]

if __name__ == "__main__":
    sys.exit(main())
