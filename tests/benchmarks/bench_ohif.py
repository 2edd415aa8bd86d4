"""How soon a reader sees the first image of a 400-slice CT: Chromium, the real hub, the desk's own button.

The clock runs from the click on the desk until the viewer's canvas shows the first slice. Cold: a browser with an empty
profile that has never seen the viewer. Warm: the desk was open before and has preloaded what it preloads.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.benchmarks.harness import REPEATS, Bench, Goal, benchmark
from tests.benchmarks.images import write_ct
from tests.browser.conftest import Person
from tests.browser.pictures import study_uid_of
from tests.support.chromium import running_chromium
from tests.support.network import RunningNetwork, running_network
from tests.support.road import take_offer

SLICES = 400
WITHIN_S = 300.0
PATIENCE_MS = 60_000
# True once the first canvas shows something: black and bright at once.
IS_DRAWN = """() => {
  const canvas = document.querySelector("canvas.cornerstone-canvas");
  if (!canvas || !canvas.width || !canvas.height) return false;
  const small = document.createElement("canvas");
  small.width = small.height = 32;
  const context = small.getContext("2d");
  context.drawImage(canvas, 0, 0, 32, 32);
  const grey = context.getImageData(0, 0, 32, 32).data.filter((_, index) => index % 4 === 0);
  return Math.max(...grey) - Math.min(...grey) > 50;
}"""


@benchmark(Goal("ohif.cold.s", "s", at_most=4), Goal("ohif.warm.s", "s", at_most=2))
def ohif(bench: Bench) -> None:
    """Open one case again and again, each time from the desk."""
    images = write_ct(bench.directory / "images", bench.data, studies=1, slices=SLICES)
    files = images.studies[0]
    with running_network(bench.directory / "network") as network, running_chromium() as chromium:
        login = hold(network, files)
        cold: list[float] = []
        warm: list[float] = []
        for number in range(1, REPEATS + 1):
            first, second = open_twice(network, chromium, login)
            cold.append(first)
            warm.append(second)
            bench.say(f"  repeat {number} of {REPEATS}: cold {first:.2f} s, warm {second:.2f} s")
        detail: dict[str, Any] = {
            "images": f"{SLICES} instances, {images.size_bytes} bytes, {images.source}",
            "browser": chromium.version,
            "cold_s": [round(one, 3) for one in cold],
            "warm_s": [round(one, 3) for one in warm],
        }
        bench.record("ohif.cold.s", statistics.median(cold), detail)
        bench.record("ohif.warm.s", statistics.median(warm), detail)


def hold(network: RunningNetwork, files: list[Path]) -> str:
    """Send the study and have a physician claim it; return the physician's login."""
    network.send(files)
    login, _ = take_offer(network, study_uid_of(files[0]), "interpretation", within_s=WITHIN_S)
    return login


def open_twice(network: RunningNetwork, chromium: Browser, login: str) -> tuple[float, float]:
    """Return the seconds until the first image in a browser of its own: at the first opening, and at the second."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = Person(network.url, context, screens=Path()).log_in(login, network.password_of(login))
        page.set_default_timeout(PATIENCE_MS)
        first = timed(lambda: open_case(page))
        page.goto(f"{network.url}/radiologist/")
        page.wait_for_load_state("networkidle")
        return first, timed(lambda: open_case(page))
    finally:
        context.close()


def open_case(page: Page) -> None:
    """Click on the held case and wait for its first image."""
    page.locator("[data-open]").first.click()
    viewer = page.locator("section.images iframe").element_handle().content_frame()
    assert viewer is not None
    viewer.wait_for_function(IS_DRAWN, polling=20)


def timed(action: Callable[[], None]) -> float:
    """Return how many seconds the action takes."""
    started = time.monotonic()
    action()
    return time.monotonic() - started
