"""The one way from a page's handler to plain synchronous code: a bounded pool of threads.

Volatile. A call that runs when the process stops is finished first; one that still waits for a thread is not started.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Offload:
    """A pool of threads; the instance itself is the callable."""

    def __init__(self, threads: int, *, name: str = "offload") -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `function(*args, **kwargs)`, called in a thread with the caller's context variables."""
        call = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self, *, wait: bool = True) -> None:
        """Finish what runs, drop what waits; `wait` until the last call has ended."""
        self._pool.shutdown(wait=wait, cancel_futures=True)
