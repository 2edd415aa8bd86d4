"""Chromium for tests. While it runs, an event loop is under way in the process: give it up with the last of its tests.

Fixtures that use it are scoped to a module or a package whose tests carry one `xdist_group`, so that no other test of
the process stands between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from tests.support.waiting import PATIENCE_S

PATIENCE_MS: Final = 1000 * PATIENCE_S
expect.set_options(timeout=PATIENCE_MS)

CHROMIUM: Final = "/usr/bin/chromium"
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Start the browser and stop it at the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def only_when_told(context: BrowserContext) -> BrowserContext:
    """Have the pages of this context not look again by themselves every 20 s: they show what they are told of."""
    context.add_init_script(
        "{ const every = setInterval; window.setInterval = (act, ms) => ms < 20_000 ? every(act, ms) : 0; }"
    )
    return context
