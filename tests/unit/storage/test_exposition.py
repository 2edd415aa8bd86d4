"""Figures as a scraper reads them, and the listener that gives them."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterable

import pytest

from storage.screens.exposition import CONTENT_TYPE, Figure, Sample, exposition, gauge, gauges
from storage.screens.figures_listener import REQUEST_S, SCRAPERS_MAX, FiguresListener, parse_address, serving_figures


def asked(port: int, path: str = "/metrics") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


def test_figures_are_text_with_kind_words_and_labels() -> None:
    text = exposition(
        [
            gauge("waiting", "What waits.", 3),
            gauges("by_lane", "By lane.", "lane", {"stat": 0.5, 'a"b\\c\nd': 12345678901.0}),
            Figure("asked_total", "Asked.", (Sample(7),), "counter"),
        ]
    )
    assert text == (
        "# HELP waiting What waits.\n# TYPE waiting gauge\nwaiting 3\n"
        "# HELP by_lane By lane.\n# TYPE by_lane gauge\n"
        'by_lane{lane="stat"} 0.5\nby_lane{lane="a\\"b\\\\c\\nd"} 1.23456789e+10\n'
        "# HELP asked_total Asked.\n# TYPE asked_total counter\nasked_total 7\n"
    ).replace("1.23456789e+10", f"{12345678901.0:.10g}")


def test_a_name_that_no_scraper_reads_is_refused() -> None:
    with pytest.raises(ValueError, match="is no name"):
        gauge("what-waits", "", 1)


def test_the_listener_gives_figures_and_nothing_else() -> None:
    with FiguresListener("127.0.0.1", 0, lambda: [gauge("one", "One.", 1)]) as listener:
        status, kind, text = asked(listener.port)
        assert (status, kind) == (200, CONTENT_TYPE)
        assert text.endswith("one 1\n")
        assert asked(listener.port, "/")[0] == 404
        assert asked(listener.port, "/metrics/../desk")[0] == 404


def test_scrapers_that_say_nothing_hold_up_neither_others_nor_the_end() -> None:
    with FiguresListener("127.0.0.1", 0, lambda: [gauge("one", "One.", 1)]) as listener:
        silent = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(SCRAPERS_MAX - 1)]
        assert asked(listener.port)[0] == 200
        began = time.monotonic()
    assert time.monotonic() - began < REQUEST_S / 2
    for one in silent:
        one.close()


def test_figures_that_cannot_be_had_are_a_503_that_quotes_nothing() -> None:
    def fails() -> Iterable[Figure]:
        raise LookupError("王小明")

    with FiguresListener("127.0.0.1", 0, fails) as listener:
        status, _, text = asked(listener.port)
        assert status == 503
        assert "王小明" not in text


def test_an_address_that_is_taken_keeps_nothing_from_working() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, serving_figures(f"127.0.0.1:{port_of(taken)}", list):
        pass
    with serving_figures("", list):
        pass


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
