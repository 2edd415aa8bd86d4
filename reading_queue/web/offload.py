"""The one way from a web handler to plain synchronous code, as handlers of other parts' applications ask for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec, Protocol, TypeVar

THREADS_DEFAULT: Final = 16  # at most so many database connections are in use by handlers at once

P = ParamSpec("P")
T = TypeVar("T")


class Run(Protocol):
    """Calls a synchronous function off the event loop and returns what it returns, or raises what it raises."""

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `function(*args, **kwargs)`, called in a thread."""
