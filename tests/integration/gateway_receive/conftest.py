"""A receiving gateway on a free port, and modalities that send verbatim."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import _config

from tests.integration.gateway_receive.receiving import ReceivingGateway


@pytest.fixture(autouse=True)
def _modalities_send_files_verbatim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[ReceivingGateway]:
    running = ReceivingGateway(tmp_path / "gateway").start()
    yield running
    running.stop()
