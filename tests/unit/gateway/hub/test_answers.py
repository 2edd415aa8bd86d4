from __future__ import annotations

import pytest

from gateway.hub.answers import parse_answer, raise_for_status, retry_after_s
from gateway.hub.errors import HubBusy, HubRefused, HubUnreachable
from gateway.hub.nonces import NONCE_USABLE_S, NONCES_KEPT_MAX, NonceStore
from storage.contract.wire import NonceAnswer, Problem


@pytest.mark.parametrize("status", [500, 502, 504, 408])
def test_failures_inside_count_as_unreachable(status: int) -> None:
    with pytest.raises(HubUnreachable):
        raise_for_status(status, {}, b"")


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("999999", 3600.0), ("soon", None), (None, None)])
def test_wish_to_wait_is_read_and_clamped(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds
    with pytest.raises(HubBusy) as caught:
        raise_for_status(429, {"Retry-After": header} if header else {}, b"")
    assert caught.value.retry_after_s == seconds


def test_wish_to_wait_carries_the_hubs_words() -> None:
    problem = Problem(title="no", status=503, code="store_unavailable", detail="the disk is full")
    with pytest.raises(HubBusy, match="asks to wait: the disk is full"):
        raise_for_status(503, {}, problem.model_dump_json().encode())


def test_refusal_carries_the_hubs_words() -> None:
    problem = Problem(title="no", status=409, code="grant_expired", detail="the grant has expired")
    with pytest.raises(HubRefused) as caught:
        raise_for_status(409, {}, problem.model_dump_json().encode())
    assert (caught.value.status, caught.value.code) == (409, "grant_expired")
    assert "the grant has expired" in str(caught.value)


def test_refusal_of_something_else_on_the_line_has_its_status() -> None:
    with pytest.raises(HubRefused, match="HTTP 404"):
        raise_for_status(404, {}, b"<html>login</html>")


def test_page_of_something_else_counts_as_unreachable() -> None:
    with pytest.raises(HubUnreachable):
        parse_answer(NonceAnswer, b"<html>login</html>")


def test_each_nonce_is_handed_out_once_and_the_freshest_first() -> None:
    now = [0.0]
    store = NonceStore(lambda: now[0])
    for n in range(NONCES_KEPT_MAX + 3):
        store.keep(f"n{n}")
    taken = [store.take() for _ in range(NONCES_KEPT_MAX)]
    assert taken[0] == f"n{NONCES_KEPT_MAX + 2}"
    assert len(set(taken)) == NONCES_KEPT_MAX
    assert store.take() is None


def test_old_nonce_is_not_used() -> None:
    now = [0.0]
    store = NonceStore(lambda: now[0])
    store.keep("old")
    now[0] = NONCE_USABLE_S + 1
    assert store.take() is None
