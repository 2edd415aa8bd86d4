"""`/metrics` on a listener of its own, apart from everything that the public reaches.

Only numbers, and labels from short lists (lanes, queues, sites): never anything about a person. Volatile. A few
scrapers are answered at once, each in a thread; one that says nothing keeps no other waiting, and no stop. What is
asked while the figures cannot be had is answered 503.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Final, Self

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

PATH: Final = "/metrics"
SCRAPERS_MAX: Final = 8  # at once
STOP_POLL_S: Final = 0.1
PORT_MAX: Final = 65535
REQUEST_S: Final = 10.0  # a scraper that says nothing for so long is sent away

_log = structlog.get_logger(__name__)


class ReadAtScrape:
    """A collector whose figures are read anew for each scraper; without names, so that making it reads nothing."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Return every figure, as of now."""
        return self._read()


def registry_of(read: Callable[[], Iterable[Metric]]) -> CollectorRegistry:
    """Return a registry of nothing but these figures."""
    registry = CollectorRegistry()
    registry.register(ReadAtScrape(read))
    return registry


def gauges(name: str, words: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """Return a figure with one number for each value of one label."""
    family = GaugeMetricFamily(name, words, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def parse_address(text: str) -> tuple[str, int] | None:
    """Return host and port of `127.0.0.1:9464` or `[::1]:9464`; None for nothing. Raises ValueError."""
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not host or not port.isdecimal() or int(port) > PORT_MAX:
        raise ValueError("an address to listen on looks like 127.0.0.1:9464")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError("an address to listen on is an IP address and a port, as in 127.0.0.1:9464") from None
    return host, int(port)


def check_address(text: str) -> str:
    """Return the text of a setting that `parse_address` understands; raises ValueError."""
    parse_address(text)
    return text


@contextmanager
def serving_figures(address: str, registry: CollectorRegistry) -> Iterator[None]:
    """Answer scrapers at this address while the block runs; nobody where it is empty.

    An address that cannot be had is told in the log and keeps nothing else from working.
    """
    parsed = parse_address(address)
    if parsed is None:
        yield
        return
    try:
        listener = FiguresListener(*parsed, registry)
    except OSError as exc:
        _log.error("figures_not_served", address=address, reason=exc.strerror)
        yield
        return
    with listener:
        _log.info("figures_served", address=address, port=listener.port)
        yield


class FiguresListener:
    """Answers scrapers while its block runs. The registry is read for each, in a thread of the listener's own."""

    def __init__(self, host: str, port: int, figures: CollectorRegistry) -> None:
        """Listen on `host` and `port` (0: any free one); raises OSError when it is taken."""

        class Handler(_Handler):
            registry = figures

        class Server(_Server):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        self._server = Server((host, port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_POLL_S,), name="figures", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        super().__init__(address, handler)
        self._places = threading.BoundedSemaphore(SCRAPERS_MAX)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or not at all where too many are being answered."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a scraper that broke off."""


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S
    server_version = "Counterpart"
    sys_version = ""

    registry: ClassVar[CollectorRegistry]  # what is answered

    def do_GET(self) -> None:
        """Answer the figures; nothing else is here."""
        if self.path.partition("?")[0] != PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            body = encode(self.registry)
        except Exception as exc:  # noqa: BLE001 -- the border of a request: the scraper is told, and asks again
            _log.warning("figures_not_had", reason=type(exc).__name__)
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- as the standard library names it
        """Say nothing: a scraper comes several times a minute."""
