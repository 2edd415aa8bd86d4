"""Gateways on free ports that serve what a test gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import _config

from gateway.journal.associations import Refusal, latest_refusals
from tests.integration.gateway_receive.receiving import ReceivingGateway
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _files_are_sent_verbatim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ReceivingGateway]]:
    running: list[ReceivingGateway] = []

    def begin(**options: Any) -> ReceivingGateway:
        running.append(ReceivingGateway(tmp_path / f"gateway{len(running)}", **options).start())
        return running[-1]

    yield begin
    for gateway in running:
        gateway.stop()


def refusal_that_says(gateway: ReceivingGateway, words: str) -> Refusal:
    """Return the refusal whose reason holds `words`, as soon as it is written."""

    def written() -> Refusal:
        refusals = latest_refusals(gateway.journal, 50)
        found = [refusal for refusal in refusals if words in refusal.reason]
        assert found, [refusal.reason for refusal in refusals]
        return found[0]

    return eventually(written)
