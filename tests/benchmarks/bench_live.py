"""How soon a thousand open desks at one web process hear of a change: those of coordinators, and those of physicians.

From the commit of the change until the event's bytes are at each listener, which runs on the same cores.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy as sa

from reading_queue.db.tables import Account
from reading_queue.db.tables import Session as LoginSession
from reading_queue.domain.roles import Role
from reading_queue.services.hub import Hub
from reading_queue.services.worklists import desk_events
from tests.benchmarks.bench_qido import percentile_95
from tests.benchmarks.harness import Bench, Goal, benchmark
from tests.benchmarks.reading_pool import add_physicians, fill_pool, running_reading_hub
from tests.support.network import SITE

DESKS: Final = 1000
CHANGES: Final = 20
BETWEEN_S: Final = 1.5
OPENING_AT_ONCE: Final = 50
HEARD_WITHIN_S: Final = 30.0
CASE: Final = "pool-0"  # offered to every physician
TICKS_S: Final = os.sysconf("SC_CLK_TCK")


class Desk(asyncio.Protocol):
    """One open stream; `heard` will say when it hears of a change."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._first = b""
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if b"event: changed" in data and not self.heard.done():
            self.heard.set_result(time.perf_counter())
        if not self.open.done():
            self._first += data
            if b"\r\n\r\n" in self._first and self._first.startswith(b"HTTP/1.1 200 "):
                self.open.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.open.done():
            self.open.set_exception(ConnectionError(self._first[:300].decode(errors="replace")))


@benchmark(Goal("live.heard.p95.s", "s", at_most=1.0))
def live(bench: Bench) -> None:
    """Change one case that everybody follows, again and again, for each kind of desk."""
    with running_reading_hub(bench.directory / "hub") as running:
        physicians = [viewer.login for viewer in add_physicians(running.hub, DESKS)]
        fill_pool(running.hub, 1, DESKS, DESKS)
        people = {"coordinators": add_coordinators(running.hub, DESKS), "physicians": physicians}
        web = web_process(bench.directory / "hub" / "hub" / "run" / "children.json")
        waits: dict[str, list[float]] = {}
        costs: dict[str, float] = {}
        for kind, accounts in people.items():
            tokens = open_sessions(running.hub, accounts)
            waits[kind], costs[kind] = asyncio.run(measure(running.hub, running.url, tokens, web))
    detail = {
        "desks": DESKS,
        "changes": CHANGES,
        "p95_s": {kind: round(percentile_95(each), 3) for kind, each in waits.items()},
        "slowest_s": {kind: round(max(each), 3) for kind, each in waits.items()},
        "web_cpu_share": {kind: round(each, 3) for kind, each in costs.items()},  # of one core, while all that goes on
    }
    bench.say(f"  {detail}")
    bench.record("live.heard.p95.s", max(map(percentile_95, waits.values())), detail)


def add_coordinators(hub: Hub, count: int) -> list[str]:
    """Add coordinators who oversee the site; return their accounts."""
    with hub.transaction() as session:
        known = session.scalars(sa.select(Account).where(Account.role == Role.COORDINATOR)).first()
        assert known is not None
        ids = [f"overseer-{number}" for number in range(count)]
        for name in ids:
            session.add(
                Account(
                    account_id=name, login=name, display_name=name, password_hash="-", role=Role.COORDINATOR,
                    organisation_id=known.organisation_id, created_at=hub.clock(),
                )
            )  # fmt: skip
    return ids


def open_sessions(hub: Hub, accounts: Sequence[str]) -> list[str]:
    """Log everybody in as the database knows it; return their cookies."""
    now = hub.clock()
    with hub.transaction() as session:
        for name in accounts:
            session.add(
                LoginSession(
                    token_sha256=hashlib.sha256(name.encode()).hexdigest(), account_id=name, csrf_token=name,
                    kind="browser", created_at=now, last_seen_at=now, expires_at=now + timedelta(days=1),
                    authenticated_at=now,
                )
            )  # fmt: skip
    return list(accounts)


async def measure(hub: Hub, url: str, tokens: Sequence[str], web: int) -> tuple[list[float], float]:
    """Return after how many seconds each desk heard of each change, and how busy the web process was."""
    place = urlsplit(url)
    loop, room = asyncio.get_running_loop(), asyncio.Semaphore(OPENING_AT_ONCE)

    async def opened(token: str) -> tuple[asyncio.Transport, Desk]:
        request = f"GET /events HTTP/1.1\r\nHost: {place.netloc}\r\nCookie: counterpart={token}\r\n\r\n"
        async with room:
            transport, desk = await loop.create_connection(
                lambda: Desk(request.encode()), place.hostname or "", place.port or 0
            )
            await desk.open
        return transport, desk

    desks = await asyncio.gather(*map(opened, tokens))
    waits = []
    began, used_s = time.perf_counter(), cpu_s(web)
    try:
        for _ in range(CHANGES):
            for _, desk in desks:
                desk.heard = loop.create_future()
            changed_at = await asyncio.to_thread(change, hub)
            async with asyncio.timeout(HEARD_WITHIN_S):
                waits += [await desk.heard - changed_at for _, desk in desks]
            with suppress(TimeoutError):  # between two changes desks only live
                await asyncio.wait_for(asyncio.Event().wait(), BETWEEN_S)
        busy = (cpu_s(web) - used_s) / (time.perf_counter() - began)
    finally:
        for transport, _ in desks:
            transport.abort()
    return waits, busy


def change(hub: Hub) -> float:
    """Tell of the case; return when it was committed."""
    with hub.transaction() as session:
        desk_events.tell(session, "bench", SITE, CASE)
    return time.perf_counter()


def web_process(children: Path) -> int:
    """Return the id of the one web process."""
    told: list[dict[str, Any]] = json.loads(children.read_text(encoding="utf-8"))
    return next(int(one["pid"]) for one in told if one["name"] == "web")


def cpu_s(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S
