"""The one way from a web handler to plain synchronous code: a bounded pool of threads.

Volatile. A call that runs when the process stops is finished first; one that still waits for a thread is not started.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, Protocol, TypeVar

THREADS_DEFAULT: Final = 16  # at most so many database connections are in use by handlers at once

P = ParamSpec("P")
T = TypeVar("T")


class Run(Protocol):
    """Calls a synchronous function off the event loop and returns what it returns, or raises what it raises."""

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `function(*args, **kwargs)`, called in a thread."""


class Offload:
    """A pool of threads; the instance itself is the callable."""

    def __init__(self, threads: int = THREADS_DEFAULT) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="offload")

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `function(*args, **kwargs)`, called in a thread with the caller's context variables."""
        call = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Finish what runs, drop what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)
