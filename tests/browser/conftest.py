"""One running network for all browser tests of a process, and Chromium with a new empty profile for each person."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Frame, Page, ViewportSize

from storage.contract.hops import Hop
from tests.browser.pictures import study_uid_of
from tests.support.chromium import PATIENCE_MS, running_chromium
from tests.support.network import RunningNetwork, running_network
from tests.support.waiting import eventually

WIDE, NARROW = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)


@pytest.fixture(scope="package")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    """The hub, a clinic's gateway and its PACS, as real processes."""
    with running_network(tmp_path_factory.mktemp("network")) as running:
        yield running


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@dataclass
class Person:
    """Somebody at a browser of their own; everything that the browser complains of is kept."""

    url: str
    context: BrowserContext
    screens: Path
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.on("page", self._watch)
        self.page = self.context.new_page()

    def _watch(self, page: Page) -> None:
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("console", lambda message: self._complain(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self._complain(str(error)))

    def _complain(self, words: str) -> None:
        self.complaints.append(words)

    def log_in(self, login: str, password: str) -> Page:
        self.page.goto(f"{self.url}/login")
        self.page.fill("input[name=login]", login)
        self.page.fill("input[name=password]", password)
        self.page.click("form[action='/login'] button")
        self.page.wait_for_url(lambda url: "/login" not in url)
        return self.page

    def look(self, name: str, *, may_scroll_sideways: bool = False) -> None:
        """Keep the page's look on a wide and on a narrow screen; nothing may hang over the edge."""
        for size in (WIDE, NARROW):
            self.page.set_viewport_size(size)
            overhang = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            self.page.screenshot(path=self.screens / f"{name}-{size['width']}.png", full_page=True)
            assert overhang <= 0 or may_scroll_sideways, f"{name} hangs {overhang} px over a {size['width']} px screen"
        self.page.set_viewport_size(WIDE)

    def forgive(self, *words: str) -> None:
        """Forget the complaints that have one of these words: what the browser notes of a refusal that was meant."""
        self.complaints = [one for one in self.complaints if not any(word in one for word in words)]

    def check(self) -> None:
        """Fail when the browser complained of anything, or asked anybody but the hub."""
        assert self.complaints == []
        assert self.hosts <= {urlsplit(self.url).netloc, ""}


@pytest.fixture(scope="session")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the screens' looks are kept."""
    return tmp_path_factory.mktemp("screens")


@pytest.fixture
def newcomer(network: RunningNetwork, chromium: Browser, screens: Path) -> Iterator[Callable[[], Person]]:
    """`newcomer()` opens a browser with an empty profile; what it complained of fails the test at its end."""
    people: list[Person] = []

    def arrive() -> Person:
        context = chromium.new_context(viewport=WIDE)
        people.append(Person(network.url, context, screens))
        return people[-1]

    yield arrive
    for person in people:
        person.context.close()
    for person in people:
        person.check()


@pytest.fixture
def person(network: RunningNetwork, newcomer: Callable[[], Person]) -> Callable[[str], Person]:
    """`person(login)` opens a browser in which this person is logged in."""

    def arrive(login: str) -> Person:
        someone = newcomer()
        someone.log_in(login, network.password_of(login))
        return someone

    return arrive


@pytest.fixture
def send(network: RunningNetwork) -> Callable[[list[Path]], str]:
    """`send(files)` sends a study from the clinic's scanner and returns its UID once it is offered."""

    def send_and_wait(files: list[Path]) -> str:
        network.send(files)
        study_uid = study_uid_of(files[0])
        network.wait_for(study_uid, Hop.OFFERED)
        return study_uid

    return send_and_wait


@pytest.fixture
def offered_to(network: RunningNetwork) -> Callable[[str], dict[str, str]]:
    """`offered_to(study_uid)` returns by login the offers of work on the study that are open now."""

    def offers(study_uid: str) -> dict[str, str]:
        found = {
            physician["login"]: offer["offer_id"]
            for physician in network.county["physicians"]
            for offer in network.api(physician["login"]).call("GET", "/offers")["offers"]
            if study_uid in offer["study_uids"]
        }
        assert found, f"{study_uid} is offered to nobody"
        return found

    return lambda study_uid: eventually(lambda: offers(study_uid), every_s=0.2)


def canvas_png(viewer: Page | Frame) -> bytes:
    """Return what the viewer's first canvas shows now."""
    address = viewer.locator("canvas.cornerstone-canvas").first.evaluate("canvas => canvas.toDataURL('image/png')")
    return base64.b64decode(address.partition(",")[2])
