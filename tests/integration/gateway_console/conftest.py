"""The console on a real port over a real journal and spool, and a browser reduced to its requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import playwright.sync_api as playwright
import pytest
import urllib3

from gateway.console import accounts
from gateway.console.keys import Desk
from gateway.console.server import ConsoleServer
from gateway.journal.database import Journal
from gateway.journal.identity import save_identity
from gateway.returns.store import DocumentStore
from gateway.settings import GatewaySettings
from gateway.spool.durable import RealFiles
from gateway.spool.spool import Spool
from storage.contract.signing import GatewayKey
from storage.contract.wire import AccountRecord, EnrolmentAnswer
from tests.support.chromium import running_chromium
from tests.support.clock import SteerableClock
from tests.support.waiting import eventually

PASSWORD = "a good password"
WIDE = playwright.ViewportSize(width=1440, height=900)
NARROW = playwright.ViewportSize(width=390, height=844)
TOKEN = re.compile(r'<meta name="csrf-token" content="([^"]*)"')


@dataclass
class Page:
    status: int
    text: str
    headers: urllib3.HTTPHeaderDict


@dataclass
class Browser:
    """Keeps cookies, follows no redirect; `token` is that of the last page."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=60))

    def get(self, path: str, **headers: str) -> Page:
        return self.send("GET", path, None, headers)

    def post(self, path: str, headers: dict[str, str] | None = None, **form: str) -> Page:
        body = urlencode({"csrf_token": self.token, **form}).encode()
        own = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.send("POST", path, body, own | (headers or {}))

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Page:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = ({"Cookie": cookie} if cookie else {}) | headers
        answer = self.http.request(method, self.url + path, body=body, headers=sent, redirect=False)
        for line in answer.headers.getlist("Set-Cookie"):
            name, _, value = line.split(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        text = answer.data.decode("utf-8", "replace")
        found = TOKEN.search(text)
        if found is not None:
            self.token = found[1]
        return Page(answer.status, text, answer.headers)

    def log_in(self, name: str, password: str = PASSWORD) -> Page:
        page = self.post("/login", login=name, password=password)
        if page.status == 303:
            self.get("/studies")
        return page


@dataclass
class Clinic:
    """One gateway's journal and spool with the console on them."""

    desk: Desk
    clock: SteerableClock
    url: str

    @property
    def journal(self) -> Journal:
        return self.desk.journal

    def browser(self) -> Browser:
        return Browser(self.url)

    def logged_in(self, name: str = "tech") -> Browser:
        someone = self.browser()
        assert someone.log_in(name).status == 303
        return someone

    def verbs(self) -> list[str]:
        return [row["verb"] for row in self.journal.read("SELECT verb FROM actions ORDER BY action_id")]


def hub_account(login: str, *, disabled: bool = False, password: str = PASSWORD, role: str = "technician"):
    return AccountRecord.model_validate(
        {
            "account_id": f"id-of-{login}",
            "login": login,
            "display_name": f"{login}的姓名",
            "role": role,
            "language": "zh",
            "password_hash": accounts.PASSWORD_HASHER.hash(password),
            "disabled": disabled,
        }
    )


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 as it is, with little work."""
    monkeypatch.setattr(accounts, "PASSWORD_HASHER", accounts.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def clinic(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Clinic]:
    settings = GatewaySettings.model_validate(
        {
            "spool_dir": tmp_path / "spool",
            "mode": getattr(request, "param", "site"),
            "hub": {"url": "https://hub.example"},
            "dicom": {"allowed_calling_ae_titles": ["CT1"], "disk_floor_bytes": 0},
            "console": {
                "host": "127.0.0.1",
                "port": 0,
                "port_file": tmp_path / "port",
                "failed_logins_max": 3,
                "import_dirs": [tmp_path / "media"],
                "import_bytes_max": 5_000_000,
            },
        }
    )
    spool = Spool(settings.spool_dir, RealFiles())
    clock = SteerableClock()
    journal = Journal(settings.spool_dir / "journal.sqlite")
    desk = Desk(settings, journal, spool, DocumentStore(settings.spool_dir, spool.files), clock)
    accounts.make_local_account(journal, "tech", "高原", "technician", PASSWORD, clock())
    server = ConsoleServer(desk)
    server.start()

    def is_listening() -> None:
        assert (tmp_path / "port").exists()

    eventually(is_listening)
    yield Clinic(desk, clock, f"http://127.0.0.1:{(tmp_path / 'port').read_text().strip()}")
    server.stop()
    assert server.join(60)


def enrol(journal: Journal, clock: SteerableClock) -> None:
    answer = EnrolmentAnswer(
        gateway_id="g1",
        site_id="qinghe",
        site_name="双桥镇中心卫生院",
        audience="net",
        hub_key_id="hub",
        hub_public_key=GatewayKey.generate().public_text(),
        hub_time=clock(),
    )
    save_identity(journal, answer, clock())


@pytest.fixture(scope="module")
def chromium() -> Iterator[playwright.Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page(clinic: Clinic, chromium: playwright.Browser) -> Iterator[playwright.Page]:
    """A page of somebody who is logged in; what the browser complains of fails the test."""
    context = chromium.new_context(viewport=WIDE)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{clinic.url}/login")
    page.fill("input[name=login]", "tech")
    page.fill("input[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies")
    yield page
    context.close()
    assert complaints == []
