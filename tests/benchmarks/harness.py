"""Goals, rows and the report: what every benchmark shares. How to add one: README.md here.

Durable: each row is in the report as soon as it is recorded. A run replaces only the rows that it was asked for.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import ProcessStarter

REPEATS = 5


@dataclass(frozen=True)
class Goal:
    """An id with its unit and the bound that its value must keep; exactly one bound."""

    id: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"{self.id} needs exactly one of at_least and at_most")

    @property
    def words(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"

    def is_met_by(self, value: float) -> bool:
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0)


@dataclass(frozen=True)
class Row:
    """One line of the report. `value` is None when it could not be measured."""

    id: str
    value: float | None
    unit: str
    goal: str
    met: bool
    detail: dict[str, Any]


@dataclass
class Bench:
    """What one benchmark function gets. `data` holds real images, None without them; `directory` is empty."""

    goals: Mapping[str, Goal]
    wanted: frozenset[str]
    directory: Path
    processes: ProcessStarter
    data: Path | None
    say: Callable[[str], None]
    on_row: Callable[[Row], None]
    recorded: set[str] = field(default_factory=set)

    def wants(self, *ids: str) -> bool:
        """Return whether any of these ids was asked for."""
        return not self.wanted.isdisjoint(ids)

    def record(self, id_: str, value: float, detail: dict[str, Any]) -> None:
        """Report what was measured; ignored when the id was not asked for."""
        goal = self.goals[id_]
        if id_ in self.wanted:
            self.recorded.add(id_)
            self.on_row(Row(id_, round(value, 4), goal.unit, goal.words, goal.is_met_by(value), detail))

    def interleave(
        self, contenders: Mapping[str, Callable[[], float]], repeats: int = REPEATS
    ) -> dict[str, list[float]]:
        """Measure all contenders once per repeat, another one first each time; return their measures by name."""
        measures: dict[str, list[float]] = {name: [] for name in contenders}
        for number, order in enumerate(rotations(list(contenders), repeats), start=1):
            for name in order:
                measures[name].append(contenders[name]())
            latest = ", ".join(f"{name} {measures[name][-1]:.3f}" for name in contenders)
            self.say(f"  repeat {number} of {repeats}: {latest}")
        return measures


Function = Callable[[Bench], None]


@dataclass(frozen=True)
class Benchmark:
    """A registered function with the goals that it measures."""

    function: Function
    goals: tuple[Goal, ...]


REGISTERED: list[Benchmark] = []


def benchmark(*goals: Goal) -> Callable[[Function], Function]:
    """Register the decorated function for the ids of these goals."""

    def register(function: Function) -> Function:
        taken = {goal.id for known in REGISTERED for goal in known.goals}
        if again := taken & {goal.id for goal in goals}:
            raise ValueError(f"registered twice: {sorted(again)}")
        REGISTERED.append(Benchmark(function, goals))
        return function

    return register


def select(benchmarks: Iterable[Benchmark], wanted: str) -> list[tuple[Benchmark, frozenset[str]]]:
    """Return the benchmarks with an id that `wanted` names, with those ids; all for an empty text.

    Names are separated by commas. One is an id or the whole parts that ids begin with (`ingest` or `ingest.`), or
    with an asterisk any beginning (`ingest.s*`). Raises ValueError for a name that no id has.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()] or ["*"]
    known = tuple(benchmarks)
    ids = [goal.id for one in known for goal in one.goals]
    if unknown := [name for name in names if not any(_is_named(id_, name) for id_ in ids)]:
        raise ValueError(f"no benchmark has an id {' or '.join(map(repr, unknown))}")
    chosen = [
        (one, frozenset(goal.id for goal in one.goals if any(_is_named(goal.id, name) for name in names)))
        for one in known
    ]
    return [(one, theirs) for one, theirs in chosen if theirs]


def _is_named(id_: str, name: str) -> bool:
    if name.endswith("*"):
        return id_.startswith(name[:-1])
    return f"{id_}.".startswith(f"{name.removesuffix('.')}.")


def rotations(names: Sequence[str], count: int) -> Iterator[list[str]]:
    """Yield `count` orders of the names, each beginning with the next one, every other one backwards.

    So nobody always follows the same neighbour, whose unwritten files and warm caches would count for or against it.
    """
    for number in range(count):
        start = number % len(names)
        order = [*names[start:], *names[:start]]
        yield [order[0], *reversed(order[1:])] if number % 2 else order


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios of one repeat each."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def not_measured(goal: Goal, problem: str) -> Row:
    """Return the row of an id whose benchmark did not come to a value."""
    return Row(goal.id, None, goal.unit, goal.words, met=False, detail={"problem": problem})


class Report:
    """The rows in a JSON file, those of earlier runs included."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        self._rows: dict[str, Row] = {row["id"]: Row(**row) for row in rows}

    def put(self, row: Row) -> None:
        """Write the row in place of an earlier one with its id; the file is always whole."""
        self._rows[row.id] = row
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        ordered = [asdict(self._rows[key]) for key in sorted(self._rows)]
        partial.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.rename(self._path)


def table(rows: Iterable[Row]) -> str:
    """Return the rows as aligned text."""
    lines = [("id", "value", "unit", "goal", "met")]
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.2f}"
        lines.append((row.id, value, row.unit, row.goal, "yes" if row.met else "NO"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
