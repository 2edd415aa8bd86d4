"""A poor line in user space: a TCP proxy with a rate, a round trip, losses and cuts, for tests and benchmarks.

What it is like: one bottleneck that both directions share, first come first served, behind a queue of limited length;
half of the round trip in each direction; opening a connection costs one round trip; each connection has a window, so
that what its sender may have on the way is limited as in TCP. A lost segment holds up its own connection for one round
trip, as a fast retransmission does, and no other one. There is neither slow start nor a smaller window after a loss:
one connection does better here than TCP (Reno, CUBIC) would on such a line. Losses come from a seeded generator.

Volatile: everything. The port stays the same while the block runs, whatever becomes of the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support.ports import own_port

SEGMENT_BYTES = 1460
BLOCK_BYTES = 4 * SEGMENT_BYTES
KERNEL_BUFFER_BYTES = 32 * 1024  # so that what the line has not taken stays with its sender
WINDOW_BYTES_MIN = 64 * 1024
QUEUE_BYTES_MIN = 32 * 1024
UNLIMITED_WINDOW_BYTES = 4 * 1024 * 1024
BIN_S = 0.1  # how finely the use of the line is remembered

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """What a line is like. `mbit_s` is 10^6 bit per second of both directions together, None: as fast as it goes."""

    mbit_s: float | None = None
    round_trip_s: float = 0.0
    loss: float = 0.0  # share of the segments

    @property
    def bytes_per_s(self) -> float:
        return math.inf if self.mbit_s is None else self.mbit_s * 125_000

    @property
    def queue_bytes(self) -> float:
        """What may wait before the line: one round trip of it, as routers are built, and at least a few packets."""
        if math.isinf(self.bytes_per_s):
            return math.inf
        return max(QUEUE_BYTES_MIN, self.bytes_per_s * self.round_trip_s)

    @property
    def queue_s(self) -> float:
        """How long a full queue is."""
        return 0.0 if math.isinf(self.bytes_per_s) else self.queue_bytes / self.bytes_per_s

    @property
    def window_bytes(self) -> float:
        """What one connection may have on the way: enough to fill the line and its queue alone."""
        if math.isinf(self.bytes_per_s):
            return UNLIMITED_WINDOW_BYTES
        return max(WINDOW_BYTES_MIN, 2 * self.bytes_per_s * self.round_trip_s)


TOWNSHIP_20 = Line(mbit_s=20, round_trip_s=0.08, loss=0.005)
TOWNSHIP_4 = Line(mbit_s=4, round_trip_s=0.08, loss=0.005)


@dataclass
class _Way:
    """One direction of one connection."""

    window: asyncio.Semaphore  # in blocks
    until_loss: int  # segments
    held_until: float = 0.0


class FaultyLine:
    """Carries TCP connections to `target` on loopback while the block runs; everything may be called from any thread.

    The target may be told later (`lead_to`), so that a server can know the line's port as its own address.
    """

    def __init__(self, line: Line | None = None, target: int | None = None, *, seed: int = 1) -> None:
        self._line = line or Line()
        self._target = target
        self._random = random.Random(seed)
        self._free_at = 0.0
        self._turn = asyncio.Lock()
        self._used: dict[int, int] = {}
        self._up_bytes = self._down_bytes = 0
        self._cut_at: int | None = None
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._cuts = self._opened = 0
        self._cut_moment: float | None = None
        self._open: dict[asyncio.Task[None], list[socket.socket]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-line")
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self.port = own_port()

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    @property
    def url(self) -> str:
        """The line's end at the clinic."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def up_bytes(self) -> int:
        """Bytes that have gone from the clients to the target."""
        return self._up_bytes

    @property
    def down_bytes(self) -> int:
        """Bytes that have gone from the target to the clients."""
        return self._down_bytes

    @property
    def connections(self) -> int:
        """How many connections have been opened so far."""
        return self._opened

    @property
    def cuts(self) -> int:
        """How many connections have been cut so far."""
        return self._cuts

    @property
    def cut_moment(self) -> float | None:
        """When connections were cut last, in seconds since 1970, None when they never were."""
        return self._cut_moment

    def now(self) -> float:
        """Return the seconds of the clock that `use` takes (the monotonic one)."""
        return self._loop.time()

    def lead_to(self, target: int) -> None:
        """Carry connections to this port from now on."""
        self._target = target

    def become(self, line: Line) -> None:
        """Be such a line from now on; connections that are open keep their window."""
        self._run(self._call(lambda: setattr(self, "_line", line)))

    def use(self, since: float, until: float) -> float:
        """Return which share of what the line could carry between two moments of `now` it has carried."""
        used = self._run(self._call(lambda: dict(self._used)))
        inside = range(math.ceil(since / BIN_S), math.floor(until / BIN_S))
        return sum(used.get(index, 0) for index in inside) / (len(inside) * BIN_S * self._line.bytes_per_s)

    def cut(self) -> int:
        """Cut every connection now, with a reset, and return how many there were."""
        return self._run(self._call(self._cut_all))

    def cut_after(self, more_up_bytes: int) -> None:
        """Cut every connection once, as soon as so many more bytes have gone to the target."""
        self._cut_at = self._up_bytes + more_up_bytes

    def refuse(self) -> None:
        """Cut every connection and refuse new ones."""
        self._run(self._refuse())

    def fall_silent(self) -> None:
        """Carry nothing any more while connections stay open and new ones are taken: a cable pulled further away."""
        self._run(self._call(self._speaks.clear))

    def mend(self) -> None:
        """Take connections again and carry their bytes; what fell silent goes on."""
        self._run(self._mend())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _call(self, function: Callable[[], T]) -> T:
        return function()

    async def _mend(self) -> None:
        self._speaks.set()
        if self._listener is None:
            await self._listen()

    async def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER_BYTES)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        listener.setblocking(False)
        self._listener = listener
        self._accepting = self._loop.create_task(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            self._opened += 1
            task = self._loop.create_task(self._carry(client))
            self._open[task] = [client]
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        for end in self._open.pop(task):
            end.close()

    def _cut_all(self) -> int:
        cut = list(self._open)
        self._cut_moment = time.time()
        for task in cut:
            for end in self._open[task]:
                # A reset, not a farewell: this is what a cut looks like in the end.
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            task.cancel()
        self._cuts += len(cut)
        self._cut_at = None
        return len(cut)

    async def _refuse(self) -> None:
        await self._stop_listening()
        self._cut_all()

    async def _stop_listening(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _close(self) -> None:
        await self._stop_listening()
        tasks = list(self._open)
        self._cut_all()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, client: socket.socket) -> None:
        """Carry one connection until both of its directions have ended, or one of its ends fails."""
        task = asyncio.current_task()
        assert task is not None
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._sleep_until(
            self._loop.time() + self._line.round_trip_s
        )  # the kernel has answered the handshake too early
        server = socket.socket()
        self._open[task].append(server)
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER_BYTES)
        try:
            await self._loop.sock_connect(server, ("127.0.0.1", self._target or 0))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(client, server, up=True))
                both.create_task(self._pump(server, client, up=False))
        except* OSError:
            # What one end has done to us, the other shall see; a target that is not there looks like a cut.
            for end in self._open[task]:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _pump(self, source: socket.socket, sink: socket.socket, *, up: bool) -> None:
        way = _Way(asyncio.Semaphore(max(1, int(self._line.window_bytes / BLOCK_BYTES))), self._segments_until_loss())
        arriving: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        async with asyncio.TaskGroup() as both:
            both.create_task(self._deliver(arriving, sink, way, up=up))
            while True:
                await way.window.acquire()
                await self._sleep_until(way.held_until)
                block = await self._loop.sock_recv(source, BLOCK_BYTES)
                await self._speaks.wait()
                arriving.put_nowait((await self._through(block, way), block))
                if not block:
                    return

    async def _through(self, block: bytes, way: _Way) -> float:
        """Wait for the queue before the bottleneck; return when the block arrives at the other end."""
        async with self._turn:  # first come, first served
            line = self._line
            await self._sleep_until(self._free_at - line.queue_s)
            begins_at = max(self._loop.time(), self._free_at)
            self._free_at = begins_at + len(block) / line.bytes_per_s
            self._note_use(self._free_at, len(block))
        arrives_at = max(self._free_at, way.held_until) + line.round_trip_s / 2
        way.until_loss -= max(1, math.ceil(len(block) / SEGMENT_BYTES))
        if way.until_loss <= 0:
            way.until_loss = self._segments_until_loss()
            way.held_until = self._free_at + line.round_trip_s
            arrives_at += line.round_trip_s
        return arrives_at

    async def _deliver(
        self, arriving: asyncio.Queue[tuple[float, bytes]], sink: socket.socket, way: _Way, *, up: bool
    ) -> None:
        while True:
            arrives_at, block = await arriving.get()
            await self._sleep_until(arrives_at)
            await self._speaks.wait()
            if not block:
                sink.shutdown(socket.SHUT_WR)
                return
            block = self._until_cut(block) if up else block
            await self._loop.sock_sendall(sink, block)
            if up:
                self._up_bytes += len(block)
            else:
                self._down_bytes += len(block)
            if self._cut_at is not None and self._up_bytes >= self._cut_at:
                self._cut_all()
                raise ConnectionResetError  # nothing that has arrived already may still go on
            self._loop.call_later(self._line.round_trip_s / 2, way.window.release)  # the acknowledgement

    def _until_cut(self, block: bytes) -> bytes:
        return block if self._cut_at is None else block[: max(0, self._cut_at - self._up_bytes)]

    def _note_use(self, at: float, size_bytes: int) -> None:
        index = int(at / BIN_S)
        self._used[index] = self._used.get(index, 0) + size_bytes

    def _segments_until_loss(self) -> int:
        """Return after how many segments of a way its next one is lost: geometrically distributed."""
        if not self._line.loss:
            return 1 << 62
        return 1 + int(math.log(1.0 - self._random.random()) / math.log(1.0 - self._line.loss))

    async def _sleep_until(self, at: float) -> None:
        if at <= self._loop.time():
            return
        over = asyncio.Event()
        self._loop.call_at(at, over.set)
        await over.wait()
