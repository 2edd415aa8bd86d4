"""Who may ask for what on the pages, and the limits that a page offers."""

from __future__ import annotations

from typing import Final

OPERATORS: Final = frozenset({"technician", "coordinator"})
EVERYBODYS: Final = frozenset({"lane"})  # a physician may hurry a study
LIMITS_MBIT_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
