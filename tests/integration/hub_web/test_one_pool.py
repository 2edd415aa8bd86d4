"""The web role has one pool of threads: it bounds how many database connections all of its parts use at once."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from reading_queue.bootstrap import build_web
from reading_queue.services.hub import Hub
from reading_queue.settings import load_settings
from reading_queue.web import offload
from reading_queue.web.keys import RUN


def test_all_parts_of_the_web_role_share_one_pool(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[offload.Offload] = []

    class Counted(offload.Offload):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(offload, "Offload", Counted)
    monkeypatch.setattr("reading_queue.web.app.Offload", Counted)
    config = tmp_path / "hub.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n')
    app = asyncio.run(build_web(load_settings(config), dataclasses.replace(hub)))
    assert made == [app[RUN]]
    made[0].close()
