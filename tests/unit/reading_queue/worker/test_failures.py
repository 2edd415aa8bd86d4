"""How often and how late a failed job is tried again."""

from __future__ import annotations

import pytest

from reading_queue.worker.failures import retry_delay_s


@pytest.mark.parametrize(
    ("attempt", "transient", "delay_s"),
    [
        pytest.param(1, True, 1.0, id="soon after the first"),
        pytest.param(2, True, 2.0, id="then doubling"),
        pytest.param(10, True, 512.0, id="still doubling"),
        pytest.param(11, True, 600.0, id="at most every ten minutes"),
        pytest.param(19, True, 600.0, id="for about two hours"),
        pytest.param(20, True, None, id="then a person must look"),
        pytest.param(1, False, 1.0, id="what looks like a defect is tried again"),
        pytest.param(2, False, 2.0, id="and again"),
        pytest.param(3, False, None, id="and then laid down"),
    ],
)
def test_retry_delay(attempt: int, transient: bool, delay_s: float | None) -> None:
    assert retry_delay_s(attempt, transient=transient) == delay_s
