"""The web role has one pool of threads for all that is answered: it bounds how many database connections are in use.

Beside it only what stores uploads, which may take long, and what decodes images have threads of their own.
"""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import create_engine

from reading_queue.bootstrap import build_web
from reading_queue.services.hub import Hub
from reading_queue.settings import load_settings
from reading_queue.web.keys import RUN
from storage.screens import offload


def test_all_parts_of_the_web_role_share_one_pool(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, list[offload.Offload]] = {}

    class Counted(offload.Offload):
        def __init__(self, threads: int, *, name: str = "offload") -> None:
            super().__init__(threads, name=name)
            made.setdefault(name, []).append(self)

    monkeypatch.setattr(offload, "Offload", Counted)
    for module in ("reading_queue.web.app", "storage.dicomweb.app"):
        monkeypatch.setattr(f"{module}.Offload", Counted)
    config = tmp_path / "hub.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n')
    engine = create_engine(hub.engine.url)

    async def build_and_end() -> web.Application:
        app = await build_web(load_settings(config), dataclasses.replace(hub, engine=engine))
        app.freeze()
        await app.cleanup()
        return app

    app = asyncio.run(build_and_end())
    assert {name: len(pools) for name, pools in made.items()} == {"offload": 1, "deposits": 1, "transcode": 1}
    assert made["offload"] == [app[RUN]]
