"""Another vendor's worklist is told of workitems: what it subscribed to, may see, and within a second."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from urllib.parse import urlsplit

import aiohttp
import pytest
from sqlalchemy import func, select, text, update

from reading_queue.db.subscription_tables import WorkitemEvent, WorkitemSubscriber
from reading_queue.db.tables import Account, Offer, ReadingTask
from reading_queue.services.access import accounts
from reading_queue.services.worklists import workitem_events
from reading_queue.services.worklists.desk_events import Cursor
from reading_queue.web.workitems import channels
from tests.integration.dicomweb.county import SITE, County
from tests.integration.stow.made import images, uid_of
from tests.integration.stow.serving import Storing, StowServer
from tests.integration.workitems.client import WORKITEMS, Worklist, code, new_transaction, performed, sequence, value
from tests.integration.workitems.subscriber import (
    ASSIGNED,
    CANCEL_REQUESTED,
    EVERY,
    FILTERED,
    PROGRESS_REPORT,
    STATE_REPORT,
    STATUS_CHANGE,
    connected,
)
from tests.integration.workitems.test_creating import asked
from tests.integration.workitems.test_workitems import BASIC_TEXT_SR, structured_report
from tests.support.clock import SteerableClock
from tests.support.waiting import eventually, keeps

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

WorklistOf = Callable[[str], Worklist]
WITHIN_S = 1.0  # the promise
SILENCE_S = 0.6  # who is told anything has been told by then
UID = "00080018"


@pytest.fixture
def other(county: County, tmp_path: Path) -> Iterator[StowServer]:
    """A second web process of the same hub."""
    with StowServer(county.hub, tmp_path / "other") as running:
        yield running


def subscribe(worklist: Worklist, uid: str, ae_title: str, query: str = "") -> int:
    return worklist.send("POST", f"/dicomweb/workitems/{uid}/subscribers/{ae_title}{query}").status


def unsubscribe(worklist: Worklist, uid: str, ae_title: str) -> int:
    return worklist.send("DELETE", f"/dicomweb/workitems/{uid}/subscribers/{ae_title}").status


def suspend(worklist: Worklist, uid: str, ae_title: str) -> int:
    return worklist.send("POST", f"/dicomweb/workitems/{uid}/subscribers/{ae_title}/suspend").status


def scheduled(worklist: Worklist) -> list[str]:
    return [str(value(one, UID)) for one in worklist.found(ProcedureStepState="SCHEDULED")]


def silent(channel: object) -> bool:
    try:
        heard = channel.hear(SILENCE_S)  # type: ignore[attr-defined]
    except Empty:
        return True
    raise AssertionError(heard)


def test_life_of_a_workitem_is_told_through_another_process_within_a_second(
    county: County,
    server: StowServer,
    other: StowServer,
    study: list[bytes],
    worklist_of: WorklistOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "LOOK_AGAIN_S", 300)  # none looks but when the database notifies it
    watcher, reader = worklist_of("coordinator"), worklist_of("reader")
    (uid,) = scheduled(reader)
    reply = watcher.send("POST", f"/dicomweb/workitems/{uid}/subscribers/WATCHER?deletionlock=true")
    assert reply.status == 201
    base = county.hub.public_url.rstrip("/").replace("http", "ws", 1)
    assert reply.headers["Content-Location"] == f"{base}/dicomweb/subscribers/WATCHER"
    with connected(other.url, county.token("coordinator"), "WATCHER") as channel:
        first = channel.hear_state(uid, "SCHEDULED")
        assert value(first, "00000002") == "1.2.840.10008.5.1.4.34.6.4"
        assert (value(first, "00000110"), value(first, "00404041")) == (1, "READY")
        token = new_transaction()
        assert reader.change(uid, "IN PROGRESS", token).status == 200
        channel.hear_state(uid, "IN PROGRESS")
        assert value(channel.hear_of(uid, ASSIGNED), "00404009", "00080100") is not None
        progress = {"00741004": {"vr": "DS", "Value": [50]}, "00741006": {"vr": "ST", "Value": ["一半"]}}

        def told_after_s() -> float:
            began = time.monotonic()
            assert reader.update(uid, token, {"00741002": sequence(progress)}).status == 200
            assert value(channel.hear_of(uid, PROGRESS_REPORT), "00741002", "00741006") == "一半"
            return time.monotonic() - began

        keeps(WITHIN_S, told_after_s)
        wish = {
            "0074100E": sequence(code("110532", "DCM", "needs a specialist")),
            "00741238": {"vr": "LT", "Value": ["改为住院检查"]},
            "0074100A": {"vr": "UR", "Value": ["tel:+86-10-1"]},
            "0074100C": {"vr": "LO", "Value": ["王护士"]},
        }
        assert watcher.request_cancel(uid, {"0074100C": {"vr": "LO", "Value": ["x" * 65]}}).status == 400
        assert watcher.request_cancel(uid, wish).status == 202
        heard = channel.hear_of(uid, CANCEL_REQUESTED)
        assert (value(heard, "00741236"), value(heard, "0074100E", "00080100")) == ("COUNTERPART", "110532")
        assert {tag: heard[tag] for tag in wish if tag != "0074100E"} == {
            tag: element for tag, element in wish.items() if tag != "0074100E"
        }
        assert reader.change(uid, "CANCELED", token).status == 200
        assert value(channel.hear_state(uid, "CANCELED"), "0074100E", "00080100") == "110513"
        county.run_jobs()
        assert silent(channel), "the workitem that takes its place is another one"


def test_whole_life_of_a_workitem_that_was_created_is_told_to_whoever_created_it(
    county: County,
    server: StowServer,
    worklist_of: WorklistOf,
    storing_of: Callable[[str], Storing],
) -> None:
    files = images(1)
    study_uid, uid = county.arrive(SITE, files, "prior"), new_transaction()
    planner, reader, token = worklist_of("coordinator"), worklist_of("reader"), new_transaction()
    assert planner.send("POST", f"{WORKITEMS}?{uid}", asked(study_uid)).status == 201
    assert subscribe(planner, uid, "PLANNER") == 201
    with connected(server.url, county.token("coordinator"), "PLANNER") as channel:
        channel.hear_state(uid, "SCHEDULED")
        county.run_jobs()
        channel.hear_of(uid, ASSIGNED)
        assert scheduled(reader) == [uid]
        assert reader.change(uid, "IN PROGRESS", token).status == 200
        channel.hear_state(uid, "IN PROGRESS")
        report = structured_report(files, "双肺纹理清晰。", "未见明显异常。")
        assert storing_of("reader").store([report]).kept() == [uid_of(report)]
        said = performed("110005", study_uid, (BASIC_TEXT_SR, uid_of(report)))
        said["00741002"] = sequence({"00741004": {"vr": "DS", "Value": [99]}})
        assert reader.update(uid, token, said).status == 200
        assert float(value(channel.hear_of(uid, PROGRESS_REPORT), "00741002", "00741004")) == 99
        assert reader.change(uid, "COMPLETED", token).status == 200
        channel.hear_state(uid, "COMPLETED")
    assert value(planner.retrieve(uid), "00741216", "00404035", "00404037") is not None


def test_global_subscription_tells_of_what_is_there_and_of_what_comes_until_suspended(
    county: County, server: StowServer, study: list[bytes], worklist_of: WorklistOf, hub_clock: SteerableClock
) -> None:
    watcher = worklist_of("coordinator")
    (first,) = scheduled(worklist_of("reader"))
    assert subscribe(watcher, EVERY, "ALL") == 201
    with connected(server.url, county.token("coordinator"), "ALL") as channel:
        channel.hear_state(first, "SCHEDULED")
        county.arrive(SITE, images(3))
        (second,) = set(scheduled(worklist_of("reader"))) - {first}
        channel.hear_of(second, ASSIGNED)
        assert suspend(watcher, FILTERED, "ALL") == 404
        assert suspend(watcher, EVERY, "ALL") == 200
        hub_clock.advance(1)
        county.arrive(SITE, images(5))
        (third,) = set(scheduled(worklist_of("reader"))) - {first, second}
        assert unsubscribe(watcher, first, "ALL") == 200
        assert worklist_of("reader").change(first, "IN PROGRESS", new_transaction()).status == 200
        assert worklist_of("reader").change(second, "IN PROGRESS", new_transaction()).status == 200
        heard: list[tuple[str, str | None]] = []
        while (second, "IN PROGRESS") not in heard:
            report = channel.hear()
            heard.append((value(report, "00001000"), value(report, "00741000")))
        assert not {first, third} & {uid for uid, _ in heard}
    assert unsubscribe(watcher, EVERY, "ALL") == 200
    assert unsubscribe(watcher, EVERY, "ALL") == 404


def test_filtered_subscription_goes_on_telling_of_what_it_once_found(
    county: County, server: StowServer, study: list[bytes], worklist_of: WorklistOf
) -> None:
    watcher, reader = worklist_of("coordinator"), worklist_of("reader")
    (uid,) = scheduled(reader)
    assert subscribe(watcher, FILTERED, "NONE", "?ScheduledProcedureStepPriority=HIGH") == 201
    assert subscribe(watcher, FILTERED, "SOME", "?ProcedureStepState=SCHEDULED") == 201
    assert subscribe(watcher, FILTERED, "SOME", "?Nonsense=1") == 400
    assert subscribe(watcher, EVERY, "SOME", "?ProcedureStepState=SCHEDULED") == 400
    token = county.token("coordinator")
    with connected(server.url, token, "NONE") as none, connected(server.url, token, "SOME") as some:
        assert reader.change(uid, "IN PROGRESS", new_transaction()).status == 200
        some.hear_state(uid, "IN PROGRESS")
        assert silent(none)


def test_nobody_is_told_of_what_they_may_not_see_or_may_see_no_longer(
    county: County, server: StowServer, study: list[bytes], worklist_of: WorklistOf
) -> None:
    reader, second = worklist_of("reader"), worklist_of("second")
    (uid,) = scheduled(reader)
    assert subscribe(second, uid, "SECOND") == 201
    with connected(server.url, county.token("second"), "SECOND") as channel:
        channel.hear_state(uid, "SCHEDULED")
        with county.hub.transaction() as session:
            gone = select(Offer.offer_id).join(Account, Account.login == "second")
            assert session.scalars(gone).first() is not None
            session.execute(
                text(
                    "DELETE FROM offers WHERE physician_id = (SELECT physician_id FROM physicians "
                    "JOIN accounts USING (account_id) WHERE login = 'second')"
                )
            )
        assert reader.change(uid, "IN PROGRESS", new_transaction()).status == 200
        assert silent(channel)
    assert subscribe(second, uid, "SECOND") == 404


def test_application_entity_belongs_to_the_account_that_subscribed_it(
    county: County, server: StowServer, study: list[bytes], worklist_of: WorklistOf
) -> None:
    reader, second, nobody = worklist_of("reader"), worklist_of("second"), worklist_of("")
    (uid,) = scheduled(reader)
    assert subscribe(nobody, uid, "MINE") == 401
    assert subscribe(reader, uid, "MINE") == 201
    assert subscribe(reader, uid, "SEVENTEEN-LETTERS") == 400
    for which in (uid, EVERY):
        assert subscribe(second, which, "MINE") == 403
        assert unsubscribe(second, which, "MINE") == 403
    assert suspend(second, EVERY, "MINE") == 403
    for token, ae_title, status in (("second", "MINE", 403), ("", "MINE", 401), ("reader", "NOBODY", 404)):
        bearing = county.token(token) if token else ""
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused, connected(server.url, bearing, ae_title):
            pass
        assert refused.value.status == status
    neighbour = worklist_of("neighbour")
    assert subscribe(neighbour, EVERY, "THEIRS") == 201
    for unseen in (uid, "2.25.1", "%00", "..%2F"):  # whether it is there at all is not told
        assert (subscribe(neighbour, unseen, "THEIRS"), unsubscribe(neighbour, unseen, "THEIRS")) == (404, 404), unseen
    assert (subscribe(reader, uid, "%00"), unsubscribe(reader, uid, "%00"), suspend(reader, EVERY, "%00")) == (
        400,
        404,
        404,
    )
    assert unsubscribe(reader, uid, "MINE") == 200
    assert subscribe(second, uid, "MINE") == 201, "who subscribes to nothing gives the title back"


def test_page_of_another_host_opens_no_connection(
    county: County, server: StowServer, study: list[bytes], worklist_of: WorklistOf
) -> None:
    assert subscribe(worklist_of("reader"), EVERY, "PAGE") == 201
    token = county.token("reader")
    with (
        pytest.raises(aiohttp.WSServerHandshakeError) as refused,
        connected(server.url, token, "PAGE", Origin="https://elsewhere.example"),
    ):
        pass
    assert refused.value.status == 403
    with connected(server.url, token, "PAGE", Origin=server.url) as channel:
        assert channel.hear()


def test_subscriber_that_was_away_is_told_what_it_missed_once(
    county: County, server: StowServer, other: StowServer, study: list[bytes], worklist_of: WorklistOf
) -> None:
    reader, token = worklist_of("reader"), county.token("coordinator")
    (uid,) = scheduled(reader)
    assert subscribe(worklist_of("coordinator"), uid, "AWAY") == 201
    with connected(server.url, token, "AWAY") as channel:
        channel.hear_state(uid, "SCHEDULED")
    assert reader.change(uid, "IN PROGRESS", new_transaction()).status == 200
    with connected(other.url, token, "AWAY") as channel:
        channel.hear_state(uid, "IN PROGRESS")
        channel.hear_of(uid, ASSIGNED)
    eventually(lambda: _require_told(county, "AWAY"))
    with connected(server.url, token, "AWAY") as channel:
        assert silent(channel)


def _require_told(county: County, ae_title: str) -> None:
    with county.hub.transaction() as session:
        row = session.get_one(WorkitemSubscriber, ae_title)
        through = Cursor(row.told_transaction_id, row.told_event_id)
    assert workitem_events.read_workitem_events(county.hub, through) == []


def test_subscriber_that_was_away_for_too_long_is_told_how_everything_stands(
    county: County, server: StowServer, study: list[bytes], worklist_of: WorklistOf
) -> None:
    reader = worklist_of("reader")
    (uid,) = scheduled(reader)
    assert subscribe(worklist_of("coordinator"), EVERY, "LATE") == 201
    assert reader.change(uid, "IN PROGRESS", new_transaction()).status == 200
    with county.hub.transaction() as session:
        old = func.now() - workitem_events.KEPT * 2
        session.execute(update(WorkitemEvent).values(at=old))
        session.execute(update(WorkitemSubscriber).values(told_at=old))
    assert workitem_events.prune_workitem_events(county.hub) > 0
    with connected(server.url, county.token("coordinator"), "LATE") as channel:
        assert value(channel.hear_of(uid, STATE_REPORT), "00741000") == "IN PROGRESS"


def test_subscriber_of_a_database_that_was_put_back_is_told_how_everything_stands(
    county: County, server: StowServer, study: list[bytes], worklist_of: WorklistOf
) -> None:
    (uid,) = scheduled(worklist_of("reader"))
    assert subscribe(worklist_of("coordinator"), EVERY, "BACK") == 201
    with county.hub.transaction() as session:
        session.execute(update(WorkitemSubscriber).values(told_transaction_id=2**60))
    with connected(server.url, county.token("coordinator"), "BACK") as channel:
        channel.hear_state(uid, "SCHEDULED")


def test_process_that_stops_says_so_and_the_next_says_that_it_is_there_again(
    county: County, server: StowServer, study: list[bytes], worklist_of: WorklistOf, tmp_path: Path
) -> None:
    assert subscribe(worklist_of("coordinator"), EVERY, "STAYS") == 201
    token = county.token("coordinator")
    with StowServer(county.hub, tmp_path / "stops") as stops:
        with_channel = connected(stops.url, token, "STAYS")
        channel = with_channel.__enter__()
        channel.hear()
    report = channel.hear_of(EVERY, STATUS_CHANGE)
    assert value(report, "00741242") == "GOING DOWN"
    assert channel.ended.wait(60)
    assert channel.code == aiohttp.WSCloseCode.GOING_AWAY
    with_channel.__exit__(None, None, None)
    with connected(server.url, token, "STAYS") as again:
        report = again.hear_of(EVERY, STATUS_CHANGE)
        assert [value(report, tag) for tag in ("00741242", "00741244", "00741246")] == [
            "RESTARTED",
            "WARM START",
            "WARM START",
        ]


def test_connection_ends_with_its_session(
    county: County, server: StowServer, study: list[bytes], worklist_of: WorklistOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "SESSION_EVERY_S", 0.1)
    assert subscribe(worklist_of("reader"), EVERY, "ENDS") == 201
    token = county.token("reader")
    with connected(server.url, token, "ENDS") as channel:
        channel.hear()
        accounts.logout(county.hub, token)
        assert channel.ended.wait(60)
        assert channel.code == aiohttp.WSCloseCode.POLICY_VIOLATION


def test_account_has_a_bounded_number_of_connections_and_of_application_entities(
    county: County, server: StowServer, study: list[bytes], worklist_of: WorklistOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "CONNECTIONS_PER_ACCOUNT_MAX", 1)
    reader, token = worklist_of("reader"), county.token("reader")
    statuses = [subscribe(reader, EVERY, f"AE{number}") for number in range(9)]
    assert statuses == [201] * 8 + [409]
    with (
        connected(server.url, token, "AE1"),
        pytest.raises(aiohttp.WSServerHandshakeError) as refused,
        connected(server.url, token, "AE2"),
    ):
        pass
    assert refused.value.status == 429


def test_subscriber_that_takes_nothing_is_cut_off_and_told_the_rest_when_it_is_back(
    county: County, server: StowServer, study: list[bytes], worklist_of: WorklistOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "SEND_S", 0.3)
    (uid,) = scheduled(worklist_of("reader"))
    assert subscribe(worklist_of("coordinator"), uid, "SLOW") == 201
    with county.hub.transaction() as session:
        task_id = session.scalars(select(ReadingTask.reading_task_id).where(ReadingTask.workitem_uid == uid)).one()
        detail = {"words": "x" * 1_000_000}
        for _ in range(24):  # more than a connection takes that nobody reads
            row = {"reading_task_id": task_id, "event_type": CANCEL_REQUESTED, "state": "scheduled", "detail": detail}
            session.add(WorkitemEvent(**row))
    address, token = urlsplit(server.url), county.token("coordinator")
    with socket.create_connection((address.hostname, address.port)) as silent_one:
        silent_one.settimeout(60)
        lines = ["GET /dicomweb/subscribers/SLOW HTTP/1.1", f"Host: {address.netloc}", f"Authorization: Bearer {token}"]
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]
        silent_one.sendall("\r\n".join(lines).encode())
        assert silent_one.recv(12) == b"HTTP/1.1 101"
        eventually(lambda: _require_cut(silent_one))
    with connected(server.url, token, "SLOW") as channel:
        assert len([channel.hear_of(uid, CANCEL_REQUESTED) for _ in range(24)]) == 24


def _require_cut(connection: socket.socket) -> None:
    """Send a pong that nobody asked for, to learn whether there is still anybody."""
    try:
        connection.sendall(b"\x8a\x80\x00\x00\x00\x00")
    except OSError:
        return
    raise AssertionError("the connection still stands")
