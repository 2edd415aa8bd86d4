"""Figures as a scraper reads them, and the listener that gives them."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from structlog.testing import capture_logs

from storage.screens import figures_listener
from storage.screens.figures_listener import (
    SCRAPERS_MAX,
    FiguresListener,
    gauges,
    parse_address,
    registry_of,
    serving_figures,
)


def asked(port: int, path: str = "/metrics") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


ONE = registry_of(lambda: [GaugeMetricFamily("one", "One.", 1)])


def test_figures_are_text_with_kind_words_and_labels() -> None:
    lanes = gauges("by_lane", "By lane.", "lane", {"stat": 0.5, 'a"b\\c\nd': 2})
    with FiguresListener("127.0.0.1", 0, registry_of(lambda: [lanes])) as listener:
        assert asked(listener.port)[2] == (
            "# HELP by_lane By lane.\n# TYPE by_lane gauge\n"
            'by_lane{lane="stat"} 0.5\nby_lane{lane="a\\"b\\\\c\\nd"} 2.0\n'
        )


def test_the_listener_gives_figures_and_nothing_else() -> None:
    with FiguresListener("127.0.0.1", 0, ONE) as listener:
        status, kind, text = asked(listener.port)
        assert (status, kind) == (200, CONTENT_TYPE_PLAIN_0_0_4)
        assert text.endswith("one 1.0\n")
        assert asked(listener.port, "/")[0] == 404
        assert asked(listener.port, "/metrics/../desk")[0] == 404


def test_scrapers_that_say_nothing_hold_up_neither_others_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_listener._Handler, "timeout", 3600.0)  # no scraper is sent away meanwhile
    with FiguresListener("127.0.0.1", 0, ONE) as listener:
        silent = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(SCRAPERS_MAX - 1)]
        assert asked(listener.port)[0] == 200
    for one in silent:
        one.close()


def test_figures_that_cannot_be_had_are_a_503_that_quotes_nothing() -> None:
    def fails() -> Iterable[Metric]:
        raise LookupError("王小明")

    with FiguresListener("127.0.0.1", 0, registry_of(fails)) as listener:
        status, _, text = asked(listener.port)
        assert status == 503
        assert "王小明" not in text


def test_an_address_that_is_taken_is_told_in_the_log_and_keeps_nothing_from_working() -> None:
    worked = []
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        capture_logs() as logs,
        serving_figures(f"127.0.0.1:{port_of(taken)}", ONE),
    ):
        worked.append("beside it")
    assert [line["event"] for line in logs] == ["figures_not_served"]
    assert worked == ["beside it"]


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


@pytest.mark.parametrize("wrong", ["9464", "127.0.0.1", "127.0.0.1:", ":9464", "127.0.0.1:70000", "hub.example:9464"])
def test_an_address_that_cannot_be_listened_on_is_refused_in_words(wrong: str) -> None:
    with pytest.raises(ValueError, match="an address to listen on"):
        parse_address(wrong)


def test_addresses_of_both_kinds_are_understood() -> None:
    assert parse_address("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert parse_address("[::1]:0") == ("::1", 0)
    assert parse_address("") is None
