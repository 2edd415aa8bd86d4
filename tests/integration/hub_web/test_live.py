"""What open desks are told: by whichever process, to whom it concerns, and nothing twice or never."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from sqlalchemy import delete, exc, func, select, text, update

from reading_queue.db.event_tables import DeskEvent
from reading_queue.db.tables import Account
from reading_queue.db.tables import Session as LoginSession
from reading_queue.services.access import accounts
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_people
from reading_queue.services.network.network_versions import NOBODY_KNOWN, record_person
from reading_queue.services.reading import consults, reading
from reading_queue.services.worklists import desk_events
from reading_queue.services.worklists.desk_events import Audience, Batch, Cursor, Told
from reading_queue.web import live
from storage.screens.offload import Offload
from tests.integration.hub_web import consulting
from tests.integration.hub_web.county import (
    AUTHOR,
    COORDINATOR,
    FIRST_SITE,
    OTHER_TECHNICIAN,
    PASSWORD,
    TECHNICIAN,
    County,
)
from tests.integration.hub_web.serving import Visitor, serving_hub
from tests.support.chromium import only_when_told, running_chromium
from tests.support.waiting import eventually, keeps

pytestmark = pytest.mark.postgres

WITHIN_S = 1.0  # the promise of every desk
PATIENCE_S = 60.0  # on a machine that does much else; nobody looks again by themselves meanwhile
SILENCE_S = 0.4  # what a test waits to hear nothing; a stream that hears everything has heard it by then


@pytest.fixture(autouse=True)
def _only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no process look for changes but when the database notifies it."""
    monkeypatch.setattr(live, "LOOK_AGAIN_S", 10 * PATIENCE_S)


@dataclass
class Listener:
    """One open stream, read as a browser reads it."""

    response: http.client.HTTPResponse
    last_id: str = ""

    def hear(self, within_s: float = PATIENCE_S) -> tuple[str, dict[str, list[str]]]:
        """Return the next event's name and what it says."""
        self._wait(within_s)
        name = ""
        while True:
            line = self.response.readline().decode().rstrip("\n")
            field, _, value = line.partition(": ")
            match field:
                case "id":
                    self.last_id = value
                case "event":
                    name = value
                case "data":
                    return name, json.loads(value)
                case _:
                    if not line and self.response.isclosed():
                        raise EOFError

    def ended(self) -> bool:
        """Return whether the server has closed the stream."""
        self._wait(10)
        try:
            self.hear()
        except (EOFError, http.client.HTTPException, ValueError, OSError):
            return True
        return False

    def _wait(self, within_s: float) -> None:
        sock: socket.socket = self.response.fp.raw._sock  # type: ignore[attr-defined]
        sock.settimeout(within_s)


@contextmanager
def listening(url: str, visitor: Visitor, last_id: str = "") -> Iterator[Listener]:
    """Open the stream as this visitor."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())}
    if last_id:
        headers["Last-Event-ID"] = last_id
    connection.request("GET", "/events", headers=headers)
    with closing(connection), closing(connection.getresponse()) as response:
        assert response.status == 200, response.status
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.readline().startswith(b":")
        yield Listener(response)


BrowserOf = Callable[[str], Visitor]


def test_change_through_one_process_is_heard_at_another_within_a_second(
    hub: Hub, url: str, county: County, browser_of: BrowserOf
) -> None:
    with serving_hub(hub) as other, listening(other, browser_of(COORDINATOR)) as listener:
        case_id = county.arrive("1.2.3.1")
        name, said = listener.hear()

        def heard_after_s() -> float:
            with hub.transaction() as session:
                desk_events.tell(session, f"told-{time.monotonic_ns()}", FIRST_SITE, case_id)
                session.flush()
                told = session.scalars(select(DeskEvent).order_by(DeskEvent.event_id.desc())).first()
            while told.kind not in listener.hear()[1]["kinds"]:
                pass
            return (datetime.now(UTC) - told.at).total_seconds()

        keeps(WITHIN_S, heard_after_s)
    assert (name, said["cases"], said["sites"]) == ("changed", [case_id], [FIRST_SITE])
    assert county.hub is hub


def test_everybody_hears_of_their_own_and_of_nothing_else(url: str, county: County, browser_of: BrowserOf) -> None:
    with (
        listening(url, browser_of(TECHNICIAN)) as technician,
        listening(url, browser_of(AUTHOR)) as physician,
        listening(url, browser_of(OTHER_TECHNICIAN)) as stranger,
    ):
        case_id = county.arrive("1.2.3.1")
        for listener in (technician, physician):
            assert case_id in listener.hear()[1]["cases"]
        with pytest.raises(TimeoutError):
            stranger.hear(SILENCE_S)


def test_who_is_asked_for_an_opinion_and_who_asked_hear_of_it_at_any_process_and_nobody_else_does(
    hub: Hub, url: str, county: County, browser_of: BrowserOf
) -> None:
    case_id = county.arrive("1.2.3.1")
    consulting.allow_consults(county)
    task_id, author = county.task(case_id), county.viewer(AUTHOR)
    reading.claim(hub, author, task_id)
    with serving_hub(hub) as other, listening(url, browser_of("shen.yi")) as elsewhere:
        with listening(other, browser_of(consulting.CONSULTANT)) as consultant:
            consult_id = consults.ask(hub, author, task_id, consulting.HOSPITAL, consulting.QUESTION)
            assert consultant.hear()[1]["kinds"] == ["consult_asked"]
        with listening(url, browser_of(AUTHOR)) as asker:
            consults.accept(hub, county.viewer(consulting.CONSULTANT), consult_id)
            assert asker.hear()[1]["kinds"] == ["consult_accepted"]
            consults.answer(hub, county.viewer(consulting.CONSULTANT), consult_id, consulting.OPINION)
            assert asker.hear()[1] == {"kinds": ["consult_answered"], "cases": [case_id], "sites": [FIRST_SITE]}
        with pytest.raises(TimeoutError):
            elsewhere.hear(SILENCE_S)


def test_who_was_offered_a_case_hears_that_another_has_taken_it(
    url: str, county: County, browser_of: BrowserOf
) -> None:
    case_id = county.arrive("1.2.3.1")
    with listening(url, browser_of("lin.shu")) as listener:
        reading.claim(county.hub, county.viewer(AUTHOR), county.task(case_id))
        assert listener.hear()[1]["kinds"] == ["claim"]


def test_listener_that_comes_back_is_told_what_it_missed_once(url: str, county: County, browser_of: BrowserOf) -> None:
    browser = browser_of(COORDINATOR)
    with listening(url, browser) as listener:
        county.arrive("1.2.3.1")
        listener.hear()
        seen = listener.last_id
    missed = [county.arrive(f"1.2.3.{number}") for number in (2, 3)]
    with listening(url, browser, seen) as listener:
        assert set(missed) <= set(listener.hear()[1]["cases"])
        later = county.arrive("1.2.3.4")
        assert listener.hear()[1]["cases"] == [later], "what was told is not told again"


def test_listener_that_comes_back_too_late_loads_anew(
    hub: Hub, url: str, county: County, browser_of: BrowserOf
) -> None:
    browser = browser_of(COORDINATOR)
    with listening(url, browser) as listener:
        county.arrive("1.2.3.1")
        listener.hear()
        seen = listener.last_id
    county.arrive("1.2.3.2")
    with hub.transaction() as session:
        session.execute(update(DeskEvent).values(at=func.now() - desk_events.KEPT * 2))
    assert desk_events.prune_events(hub) >= 2
    county.arrive("1.2.3.3")
    with listening(url, browser, seen) as listener:
        assert listener.hear()[0] == "reset"


@pytest.mark.parametrize("future", [f"{2**60}-1", f"{'9' * 30}-1"])
def test_listener_that_knows_a_later_life_of_the_database_loads_anew_and_hears_what_comes(
    url: str, county: County, browser_of: BrowserOf, future: str
) -> None:
    with listening(url, browser_of(COORDINATOR), future) as listener:
        assert listener.hear()[0] == "reset"
        case_id = county.arrive("1.2.3.1")
        assert case_id in listener.hear()[1]["cases"]


def test_change_between_two_that_join_at_once_reaches_the_first_though_the_database_fails_meanwhile(
    hub: Hub, county: County, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_AGAIN_S", 0.05)
    tokens = [accounts.login(hub, login, PASSWORD, "browser").token for login in (TECHNICIAN, COORDINATOR)]
    first, second = (live.Stream(token, Audience(frozenset({FIRST_SITE}), None), token) for token in tokens)
    assert asyncio.run(_heard_by_the_first(hub, first, second)) == ["between"]


async def _heard_by_the_first(hub: Hub, first: live.Stream, second: live.Stream) -> list[str]:
    answers, failures = [asyncio.Event(), asyncio.Event()], [exc.TimeoutError("no connection is free")]
    asked = asyncio.Queue[None]()

    async def run(function: Callable[..., object], *arguments: object) -> object:
        if function is desk_events.read_events and failures:
            raise failures.pop()
        found = await asyncio.to_thread(function, *arguments)
        if function is desk_events.find_end:
            answer = answers[is_late]
            asked.put_nowait(None)
            await answer.wait()
        return found

    is_late = False
    streams = live.Live(hub, cast(Offload, run))
    app = web.Application()
    app.cleanup_ctx.append(streams.running)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        joining = asyncio.create_task(streams.join(first))
        await asyncio.wait_for(asked.get(), 60)
        with hub.transaction() as session:
            desk_events.tell(session, "between", FIRST_SITE)
        is_late = True
        late = asyncio.create_task(streams.join(second))
        await asyncio.wait_for(asked.get(), 60)
        for answer, task in zip(answers, (joining, late), strict=True):
            answer.set()
            await task
        heard = await asyncio.wait_for(first.take(), 60) or b""
        return cast("list[str]", json.loads(heard.partition(b"data: ")[2])["kinds"])
    finally:
        await runner.cleanup()


def test_change_that_commits_late_is_not_passed_over(hub: Hub, county: County) -> None:
    start = desk_events.find_end(hub)
    with hub.transaction() as early:
        early.execute(text("SELECT pg_current_xact_id()"))
        with hub.transaction() as late:  # a later transaction takes the lower number and commits after the earlier one
            desk_events.tell(late, "late", "site")
            late.flush()
            desk_events.tell(early, "early", "site")
            early.flush()
            early.commit()
            assert [told.kind for told in desk_events.read_events(hub, start)] == ["early"]
            seen = desk_events.read_events(hub, start)[-1].cursor
    assert [told.kind for told in desk_events.read_events(hub, seen)] == ["late"]


def test_change_of_a_transaction_that_was_begun_first_and_commits_last_is_not_passed_over(
    hub: Hub, county: County
) -> None:
    start = desk_events.find_end(hub)
    with hub.transaction() as first:
        desk_events.tell(first, "first", "site")
        first.flush()
        with hub.transaction() as second:
            desk_events.tell(second, "second", "site")
        assert desk_events.read_events(hub, start) == [], "the second waits until nobody older is open"
    assert [told.kind for told in desk_events.read_events(hub, start)] == ["first", "second"]


def test_one_transaction_tells_of_a_case_once(hub: Hub, county: County) -> None:
    with hub.transaction() as session:
        for kind in ("a", "b"):
            desk_events.tell(session, kind, "site", "case")
    with hub.transaction() as session:
        assert session.scalars(select(DeskEvent.kind)).all() == ["a"]
        session.execute(delete(DeskEvent))


def _log_out(hub: Hub, county: County, browser: Visitor) -> None:
    browser.post("/logout")


def _forget_sessions(hub: Hub, county: County, browser: Visitor) -> None:
    """End them as time does, without a word."""
    with hub.transaction() as session:
        session.execute(delete(LoginSession))


def _reset_the_password(hub: Hub, county: County, browser: Visitor) -> None:
    network_people.reset_password_of(hub, TECHNICIAN, NOBODY_KNOWN)


def _close_the_account(hub: Hub, county: County, browser: Visitor) -> None:
    with hub.transaction() as session:
        account = session.scalars(select(Account).where(Account.login == TECHNICIAN)).one()
        account.disabled_at = hub.clock()
        record_person(session, account, hub.clock())


@pytest.mark.parametrize(
    ("end", "beats_s"),
    [(_log_out, 600.0), (_reset_the_password, 600.0), (_close_the_account, 600.0), (_forget_sessions, 0.1)],
)
def test_stream_ends_at_once_with_its_session_and_others_go_on(
    hub: Hub, url: str, county: County, browser_of: BrowserOf, monkeypatch: pytest.MonkeyPatch,
    end: Callable[[Hub, County, Visitor], None], beats_s: float,
) -> None:  # fmt: skip
    monkeypatch.setattr(live, "HEARTBEAT_S", beats_s)
    browser, other = browser_of(TECHNICIAN), browser_of(COORDINATOR)
    with listening(url, browser) as listener, listening(url, other) as beside:
        ends_for_all = end is _forget_sessions
        end(hub, county, browser)
        assert listener.hear()[0] == "reset"  # within PATIENCE_S: long before the stream beats
        assert listener.ended()
        if not ends_for_all:
            county.arrive("1.2.3.1")
            assert beside.hear()[0] == "changed"


def test_listener_that_takes_nothing_is_cut_off_by_whoever_looks_after_it() -> None:
    class Line(asyncio.Transport):
        aborted = False

        def is_closing(self) -> bool:
            return False

        def abort(self) -> None:
            self.aborted = True

    line = Line()
    stream = live.Stream("account", Audience(frozenset(), None), "", line)
    for _ in range(live.WAITING_MAX + 1):
        stream.look()
        assert not line.aborted
        stream.beat()
    stream.look()
    assert line.aborted


def test_account_that_listens_in_too_many_windows_is_told_so(url: str, county: County, browser_of: BrowserOf) -> None:
    browser = browser_of(TECHNICIAN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "STREAMS_PER_ACCOUNT_MAX", 1)
        with listening(url, browser):
            assert browser.get("/events").status == 429
        eventually(lambda: _opens(url, browser))  # a window that was closed counts no more


def test_desks_beyond_what_a_process_may_have_open_are_told_so_and_people_still_log_in(
    url: str, county: County, browser_of: BrowserOf
) -> None:
    technician, coordinator = browser_of(TECHNICIAN), browser_of(COORDINATOR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "open_files_max", lambda: 3)
        with listening(url, technician):
            refused = coordinator.get("/events")
            assert refused.status == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert "工作台太多" in refused.text
            assert Visitor(url).log_in(TECHNICIAN, PASSWORD).status == 303


def _opens(url: str, browser: Visitor) -> None:
    with listening(url, browser):
        return


def test_nobody_listens_without_logging_in(visitor: Visitor) -> None:
    assert visitor.get("/events").status in {303, 401}


def test_listener_that_is_too_slow_is_told_to_load_anew_and_keeps_no_memory() -> None:
    stream = live.Stream("account", Audience(frozenset({"site"}), None))
    told = Batch([Told(Cursor(1, 1), "kind", "site", None, frozenset())])
    for _ in range(live.WAITING_MAX + 5):
        stream.give(told)
    assert stream.lost


@pytest.mark.parametrize("text", ["", "1", "a-b", "1-", "-1", "1-2-3", "٣-1", "9" * 50 + "-1"])
def test_cursor_that_is_none_is_no_cursor(text: str) -> None:
    assert Cursor.parse(text) is None
    assert Cursor.parse("12-34") == Cursor(12, 34)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.mark.browser
@pytest.mark.xdist_group("desks in Chromium")
def test_desks_of_two_people_show_what_a_third_does_within_a_second_and_keep_what_is_typed(
    chromium: Browser, url: str, county: County
) -> None:
    pages = {login: desk_of(chromium, url, login) for login in (AUTHOR, TECHNICIAN)}
    pages[TECHNICIAN].fill("[name=text]", "王")
    case_id = county.arrive("1.2.3.1")
    for page in pages.values():
        expect(page.get_by_text("赵䶮").first).to_be_visible(timeout=PATIENCE_S * 1000)
    expect(pages[TECHNICIAN].locator("[name=text]")).to_have_value("王")
    county.submit(case_id, "lin.shu")
    expect(pages[AUTHOR].get_by_text("现在没有派给您的检查")).to_be_visible(timeout=PATIENCE_S * 1000)

    def asks_after_s() -> float:
        with suppress(PlaywrightTimeout):
            while True:  # until what went before it is over
                pages[AUTHOR].wait_for_event("request", timeout=2 * WITHIN_S * 1000)
        with pages[AUTHOR].expect_response(f"{url}/radiologist/", timeout=PATIENCE_S * 1000):
            with county.hub.transaction() as session:
                desk_events.tell(session, "told", FIRST_SITE, case_id)
            began = time.monotonic()
        return time.monotonic() - began

    keeps(WITHIN_S, asks_after_s, in_a_row=1)
    for page in pages.values():
        page.context.close()


def desk_of(chromium: Browser, url: str, login: str) -> Page:
    page = only_when_told(chromium.new_context(locale="zh-CN")).new_page()
    log_in(page, url, login)
    expect(page.locator("body[data-listens]")).to_have_count(1)
    return page


def log_in(page: Page, url: str, login: str) -> None:
    page.goto(f"{url}/login")
    page.fill("[name=login]", login)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")


@pytest.mark.browser
@pytest.mark.xdist_group("desks in Chromium")
@pytest.mark.parametrize("without", ["nothing", "SharedWorker"])
def test_desk_that_was_refused_hears_as_soon_as_there_is_room_and_waits_as_it_was_told(
    chromium: Browser, url: str, county: County, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    asked: list[float] = []

    def no_files() -> int:
        asked.append(time.monotonic())
        return 0

    monkeypatch.setattr(live, "open_files_max", no_files)
    monkeypatch.setattr(live.NoRoomForStreams, "retry_after_s", 3)
    context = only_when_told(chromium.new_context(locale="zh-CN"))
    context.add_init_script(f"delete window.{without}")
    page = context.new_page()
    log_in(page, url, TECHNICIAN)
    eventually(lambda: _has_asked(asked, 2))
    assert asked[1] - asked[0] >= 3
    monkeypatch.undo()
    expect(page.locator("body[data-listens]")).to_have_count(1, timeout=60_000)
    county.arrive("1.2.3.1")
    expect(page.get_by_text("赵䶮").first).to_be_visible(timeout=PATIENCE_S * 1000)
    context.close()


def _has_asked(asked: list[float], times: int) -> None:
    assert len(asked) >= times


@pytest.mark.browser
@pytest.mark.xdist_group("desks in Chromium")
def test_opinion_appears_beside_what_its_asker_writes_and_the_question_on_the_desk_that_is_asked(
    chromium: Browser, url: str, county: County
) -> None:
    case_id = county.arrive("1.2.3.1")
    consulting.allow_consults(county)
    task_id, author = county.task(case_id), county.viewer(AUTHOR)
    reading.claim(county.hub, author, task_id)
    asker, consultant = (desk_of(chromium, url, login) for login in (AUTHOR, consulting.CONSULTANT))
    asker.goto(f"{url}/radiologist/cases/{case_id}")
    expect(asker.locator("body[data-listens]")).to_have_count(1)
    asker.fill("#editor [name=findings]", "右肺上叶结节")
    consult_id = consults.ask(county.hub, author, task_id, consulting.HOSPITAL, consulting.QUESTION)
    expect(consultant.get_by_text(consulting.QUESTION)).to_be_visible(timeout=PATIENCE_S * 1000)
    expect(asker.locator("#consults").get_by_text(consulting.QUESTION)).to_be_visible(timeout=PATIENCE_S * 1000)
    consults.accept(county.hub, county.viewer(consulting.CONSULTANT), consult_id)
    consultant.goto(f"{url}/radiologist/cases/{case_id}")
    expect(consultant.locator("body[data-listens]")).to_have_count(1)
    consultant.fill("#consults [name=words] >> nth=0", "建议增强")
    consultant.locator("h1").click()  # the field has not the focus any more, and keeps its words all the same
    with county.hub.transaction() as session:
        desk_events.tell(session, "consult_accepted", FIRST_SITE, case_id)
    asked_again = consultant.expect_response(lambda answer: answer.url.endswith("/consults"))
    with asked_again, county.hub.transaction() as session:
        desk_events.tell(session, "consult_accepted", FIRST_SITE, case_id)
    expect(consultant.locator("#consults [name=words] >> nth=0")).to_have_value("建议增强")
    consults.answer(county.hub, county.viewer(consulting.CONSULTANT), consult_id, consulting.OPINION)
    expect(asker.get_by_text(consulting.OPINION)).to_be_visible(timeout=PATIENCE_S * 1000)
    expect(asker.locator("#editor [name=findings]")).to_have_value("右肺上叶结节")
    for page in (asker, consultant):
        page.context.close()
