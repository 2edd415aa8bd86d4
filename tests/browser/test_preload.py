"""The desk has the viewer's program fetched before a case is opened, and nothing of any patient with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Request

from tests.browser.conftest import Person
from tests.support.network import RunningNetwork
from tests.support.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("network")]


def test_desk_fetches_the_viewer_and_no_images(network: RunningNetwork, newcomer: Callable[[], Person]) -> None:
    login = network.county["physicians"][0]["login"]
    reader = newcomer()
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url.removeprefix(network.url))

    reader.page.on("request", note)
    reader.log_in(login, network.password_of(login))

    def has_run() -> None:
        frame = next(one for one in reader.page.frames if one.url.endswith("/viewer/"))
        assert "404" in frame.locator("body").inner_text(), "the program has started, without a study"

    eventually(has_run, every_s=0.2)
    assert [address for address in asked if address.startswith("/viewer/app.bundle.")]
    assert not [address for address in asked if address.startswith("/dicomweb")]
