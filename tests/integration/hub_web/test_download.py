"""Downloads of studies that do not go well: a store that fails, a browser that goes away, too many at once."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from urllib.parse import urlencode

import pytest
import urllib3
from sqlalchemy import select

from reading_queue.services.hub import Hub
from reading_queue.web.coordinator import download
from storage.ledger.tables import AuditEvent
from storage.objects.protocol import StoreUnavailable
from tests.integration.hub_intake.conftest import gateway, network, server
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.studies import Instance
from tests.integration.hub_keeping.keeping import Sender
from tests.integration.hub_web.serving import Visitor
from tests.integration.hub_web.test_keeping_pages import PAGE, WHY, Browsers, browser_of, slices
from tests.support.waiting import eventually

__all__ = ["browser_of", "gateway", "network", "server", "slices"]

pytestmark = pytest.mark.postgres

WISH = {"reason": WHY, "form": "received"}
SIDE, PACKS, SLICES_IN_PACK = 1024, 4, 6  # of 2 MiB each: more than the sockets on the way hold


def endings(hub: Hub) -> list[tuple[str, str]]:
    with hub.transaction() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.event_code == "110106"))
        return [(event.detail["step"], event.outcome) for event in events]


def failing_from(hub: Hub, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the object store not answer from this read on."""
    real: Callable[..., AbstractContextManager[object]] = hub.objects.open
    calls: list[str] = []

    def opened(key: str, *, offset: int = 0, length: int | None = None) -> AbstractContextManager[object]:
        calls.append(key)
        if len(calls) >= number:
            raise StoreUnavailable(key)
        return real(key, offset=offset, length=length)

    monkeypatch.setattr(type(hub.objects), "open", staticmethod(opened))


def test_store_that_does_not_answer_is_told_on_the_page(
    slices: list[Instance], network: Hub, browser_of: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = browser_of("one")
    failing_from(network, 1, monkeypatch)
    answer = browser.post(f"{PAGE}/export", **WISH)
    assert (answer.status, "cannot be reached" in answer.text, WHY in answer.text) == (503, True, True)
    assert endings(network) == [("begun", "success"), ("ended", "failure")]


def test_archive_that_breaks_off_is_cut_and_never_ends_as_if_it_were_whole(
    slices: list[Instance], network: Hub, browser_of: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = browser_of("one")
    failing_from(network, 3, monkeypatch)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        browser.post(f"{PAGE}/export", **WISH)
    assert eventually(lambda: _two(endings(network))) == [("begun", "success"), ("ended", "failure")]


def test_browser_that_goes_away_ends_the_download(gateway: GatewayStandIn, network: Hub, browser_of: Browsers) -> None:
    pixels = bytes(2 * SIDE * SIDE)
    numbers = range(1, PACKS * SLICES_IN_PACK + 1)
    large = Sender(gateway, network)
    made = large.slices(numbers, Rows=SIDE, Columns=SIDE, PixelData=pixels)
    large.send(*(made[first : first + SLICES_IN_PACK] for first in range(0, len(made), SLICES_IN_PACK)))
    go_away(browser_of("one"))
    assert eventually(lambda: _two(endings(network))) == [("begun", "success"), ("ended", "failure")]


def test_so_many_downloads_run_at_once_and_no_more(
    slices: list[Instance], network: Hub, browser_of: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = browser_of("one")
    for _ in range(download.DOWNLOADS_MAX + 1):  # one after the other: each gives its place back
        assert browser.post(f"{PAGE}/export", **WISH).status == 200
    monkeypatch.setattr(download, "DOWNLOADS_MAX", 0)
    refused = browser.post(f"{PAGE}/export", **WISH)
    assert (refused.status, "Several studies are being downloaded" in refused.text) == (503, True)


def go_away(browser: Visitor) -> None:
    """Begin a download, read some of it, and close the connection."""
    address = urllib3.util.parse_url(browser.url)
    body = urlencode({"csrf_token": browser.csrf, **WISH}).encode()
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    head = (
        f"POST {PAGE}/export HTTP/1.1\r\nHost: {address.netloc}\r\nCookie: {cookies}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((str(address.host), address.port or 0), timeout=60) as line:
        line.sendall(head.encode() + body)
        got = line.recv(65536)
    assert got.startswith(b"HTTP/1.1 200"), got[:300]


def _two(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    assert len(found) == 2
    return found
