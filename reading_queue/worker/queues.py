"""The queues, and the crews of a worker that serve them; loads nothing of Celery.

A child of a worker does one job at a time, and a large job may hold it for LARGE_TIME_LIMIT_S. Queues of different
haste therefore never share children: each crew has its own, and whatever the others do, a case that is ready finds a
child of the crew `routing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# In the order in which a worker looks at those of one crew.
QUEUES: Final = ("routing", "transfers", "documents", "metadata", "large", "background")

CREWS: Final[Mapping[str, tuple[str, ...]]] = {
    "routing": ("routing",),
    "ordinary": ("transfers", "documents", "metadata"),
    "large": ("large",),
    "background": ("background",),
}
BACKGROUND_NICENESS: Final = 10
LARGE_TIME_LIMIT_S: Final = 1500  # 8 GiB composed and read twice at 20 MB/s; less than a broker waits


@dataclass(frozen=True, slots=True)
class Crew:
    """Some queues, and how many children do their jobs and nothing else."""

    name: str
    queues: tuple[str, ...]
    children: int

    @property
    def niceness(self) -> int:
        """Return how far its processes step back (nice(2)): nobody waits for what is done in the background."""
        return BACKGROUND_NICENESS if self.name == "background" else 0


def wrong_queues(named: Sequence[str]) -> str:
    """Return why a worker cannot serve these queues, in words; empty when it can."""
    unknown = [name for name in named if name not in QUEUES]
    if unknown:
        return f"there is no queue {', '.join(unknown)}; the queues are {', '.join(QUEUES)}"
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        return f"{', '.join(twice)} is named twice"
    return "" if named else f"name at least one of {', '.join(QUEUES)}"


def crews_of(served: Sequence[str], children: Mapping[str, int]) -> tuple[Crew, ...]:
    """Return the crews of a worker that serves these queues; `children` says by crew how many each has."""
    found = (
        Crew(name, tuple(one for one in queues if one in served), children[name]) for name, queues in CREWS.items()
    )
    return tuple(crew for crew in found if crew.queues)
