"""From a workstation's ORU over MLLP through a gateway in reader mode to the draft at the desk."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.clock import utc_now
from gateway.console.attention import Matter, list_matters, settle
from gateway.hl7.mllp import MllpConnection, PeerClosed
from gateway.hub import HubClient
from gateway.identity import enrol, load_signing_identity
from gateway.journal.associations import latest_refusals
from gateway.journal.database import Journal
from gateway.link import build_client
from gateway.reader import ReaderLink
from gateway.settings import GatewaySettings
from gateway.spool.durable import RealFiles
from gateway.spool.spool import Spool
from gateway.status import problems_of, read_status
from reading_queue.db.tables import Draft
from reading_queue.services.access.enrolment import issue_reader_code
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from storage.hl7.message import Message, composite, encode, escape, header, parse_message, segment
from storage.tls import Credentials, receiver_context
from tests.integration.hub_intake.http_server import HubServer
from tests.integration.hub_reading.world import CITY, TEXT, World
from tests.support.certificates import Authority
from tests.support.ports import own_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres

STUDY = "1.2.3"


class Hospital:
    """An enrolled gateway in reader mode, and a workstation that sends to it."""

    def __init__(self, hub: Hub, spool_dir: Path) -> None:
        self._hub = hub
        self._spool_dir = spool_dir
        self.spool = Spool(spool_dir, RealFiles())
        self.journal = Journal(spool_dir / "journal.sqlite")
        self.server: HubServer | None = None
        self.link: ReaderLink | None = None
        with HubServer(hub) as server:
            client = HubClient(server.url, None, clock=utc_now, connect_timeout_s=60, read_timeout_s=60)
            enrol(self.journal, spool_dir, client, issue_reader_code(hub, CITY, "admin"), clock=utc_now)
            client.close()

    def start(
        self,
        url: str,
        *,
        targets: Sequence[dict[str, object]] = (),
        keep_days: float = 0,
        tls: dict[str, object] | None = None,
        reader: dict[str, object] | None = None,
    ) -> None:
        settings = GatewaySettings(
            mode="reader",
            spool_dir=self._spool_dir,
            hub={"url": url, "retry_delay_max_s": 0.3, "connect_timeout_s": 1, "read_timeout_s": 5},
            dicom={"tls": tls},
            reader={"host": "127.0.0.1", "port": 0, "keep_days": keep_days, **(reader or {})},
            targets=targets,
        )
        loaded = load_signing_identity(self.journal, self._spool_dir)
        assert loaded is not None
        self.link = ReaderLink(settings, self.journal, build_client(settings, loaded[1]), self.spool)
        self.link.start()

    def stop(self) -> None:
        if self.link is not None:
            self.link.stop()
            assert self.link.join(time.monotonic() + 60)
            self.link = None

    def send(self, message: bytes, tls: ssl.SSLContext | None = None) -> Message:
        assert self.link is not None
        connection = MllpConnection("127.0.0.1", self.link.port, timeout_s=5, tls=tls, server_name="gateway")
        try:
            connection.send(message)
            return parse_message(connection.receive(time.monotonic() + 60), "UNICODE UTF-8")
        finally:
            connection.close()


@pytest.fixture
def hospital(hub: Hub, wang: Viewer, tmp_path: Path) -> Iterator[Hospital]:
    place = Hospital(hub, tmp_path / "spool")
    yield place
    place.stop()


@pytest.fixture
def claimed(world: World, hub: Hub, wang: Viewer) -> tuple[str, str]:
    case_id = world.arrive(STUDY)
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, task_id)
    return case_id, task_id


def oru(
    physician: str = "licence-wang", *, message_id: str = "W1", character_set: str = "UNICODE UTF-8", **changes: str
) -> bytes:
    text = {"findings": TEXT.findings, "impression": TEXT.impression} | changes
    segments = [
        header({3: "RIS", 4: "CITY", 9: "ORU^R01^ORU_R01", 10: "W1", 11: "P", 12: "2.5.1", 18: character_set}),
        segment("PID", {1: "1", 3: "P1"}),
        segment("OBR", {1: "1", 18: "A1", 25: "P", 32: composite("somebody", "else", separator="&"), 33: physician}),
        segment("OBX", {1: "1", 2: "ST", 3: "113014^DICOM Study^DCM", 5: STUDY, 11: "P"}),
        segment("OBX", {1: "2", 2: "FT", 3: "59776-5^Findings^LN", 5: escape(text["findings"]), 11: "P"}),
        segment("OBX", {1: "3", 2: "FT", 3: "19005-8^Impressions^LN", 5: escape(text["impression"]), 11: "P"}),
    ]
    return encode(segments, character_set)


def draft_of(hub: Hub, case_id: str) -> Draft | None:
    with hub.transaction() as session:
        return session.get(Draft, case_id)


def test_a_report_is_the_draft_when_it_is_accepted_and_is_signed_at_the_desk(
    world: World, hub: Hub, hospital: Hospital, wang: Viewer, claimed: tuple[str, str]
) -> None:
    case_id, task_id = claimed
    with HubServer(hub) as server:
        hospital.start(server.url)
        for character_set in ("UNICODE UTF-8", "GB 18030-2000"):
            answer = hospital.send(oru(character_set=character_set))
            assert (answer.get("MSA", 1), answer.get("MSA", 2)) == ("AA", "W1")
        rows = hospital.journal.read("SELECT state, bodies FROM reader_reports")
        assert [tuple(row) for row in rows] == [("taken", "[]")] * 2  # its text is at the hub now
        assert hospital.send(oru()).get("MSA", 1) == "AA"  # sent once more
        hospital.stop()
    draft = draft_of(hub, case_id)
    assert draft is not None
    assert (draft.findings, draft.impression, draft.source) == (TEXT.findings, TEXT.impression, "workstation")
    assert world.case(case_id).state == "reading"
    reading.submit(hub, wang, task_id, TEXT, confirm=True)
    assert world.case(case_id).state == "pending_review"


def test_what_the_hub_refuses_is_refused_to_the_workstation_in_words(
    hub: Hub, hospital: Hospital, claimed: tuple[str, str]
) -> None:
    with HubServer(hub) as server:
        hospital.start(server.url)
        answer = hospital.send(oru("licence-zhao"))
        assert answer.get("MSA", 1) == "AE"
        assert "does not hold the case" in answer.get("ERR", 8)
        assert any("does not hold the case" in problem for problem in problems_of(read_status(hospital.journal)))
        hospital.stop()
    assert draft_of(hub, claimed[0]) is None


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (b"GET / HTTP/1.1", "AR", "MSH"),
        (encode([header({9: "ADT^A01", 10: "1"})], "UNICODE UTF-8"), "AE", "ORU^R01"),
        (encode([header({9: "ORU^R01", 10: "1"}), segment("OBR", {18: "A1", 33: "w"})], "UNICODE UTF-8"), "AE", "OBX"),
        (oru(findings="", impression=""), "AE", "OBX"),
        (oru().decode().encode("gb18030"), "AR", "character set"),
        (oru().replace(b"UNICODE UTF-8", b"8859/1"), "AR", "8859/1"),
    ],
)
def test_what_is_no_report_is_refused_and_not_kept(
    hub: Hub, hospital: Hospital, message: bytes, code: str, words: str
) -> None:
    hospital.start("http://127.0.0.1:9")
    answer = hospital.send(message)
    assert answer.get("MSA", 1) == code
    assert words in answer.get("MSA", 3)
    assert hospital.journal.read("SELECT * FROM reader_reports") == []


def test_with_the_line_down_it_is_kept_before_it_is_accepted_and_comes_later_also_after_a_restart(
    hub: Hub, hospital: Hospital, claimed: tuple[str, str]
) -> None:
    hospital.start(f"http://127.0.0.1:{own_port()}")
    assert hospital.send(oru()).get("MSA", 1) == "AA"
    assert hospital.journal.read("SELECT state FROM reader_reports")[0]["state"] == "due"
    hospital.stop()
    with HubServer(hub) as server:
        hospital.start(server.url)
        eventually(lambda: _has_draft(hub, claimed[0]))
        hospital.stop()
    assert hospital.journal.read("SELECT state, problem FROM reader_reports")[0]["state"] == "taken"


def test_a_report_that_was_accepted_with_the_line_down_and_is_refused_later_waits_for_a_person_on_the_console(
    hub: Hub, hospital: Hospital, claimed: tuple[str, str]
) -> None:
    hospital.start(f"http://127.0.0.1:{own_port()}")
    assert hospital.send(oru("licence-zhao")).get("MSA", 1) == "AA"
    hospital.stop()
    with HubServer(hub) as server:
        hospital.start(server.url)
        matter = eventually(lambda: refused_report(hospital))
        hospital.stop()
    assert "does not hold the case" in matter.reason
    settle(hospital.journal, matter.settles, "li", utc_now())
    assert [one for one in matters_of(hospital) if one.kind == "report_refused"] == []
    assert draft_of(hub, claimed[0]) is None


def matters_of(hospital: Hospital) -> list[Matter]:
    offline = timedelta(days=30)
    return list_matters(hospital.journal, hospital.spool, utc_now(), disk_floor_bytes=0, accounts_offline=offline)


def refused_report(hospital: Hospital) -> Matter:
    found = [one for one in matters_of(hospital) if one.kind == "report_refused"]
    assert len(found) == 1
    return found[0]


def test_reports_come_over_tls_alone_where_it_is_asked_for_and_strangers_are_refused_in_words(
    hub: Hub, hospital: Hospital, claimed: tuple[str, str], tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "certificates")
    stranger = Authority(tmp_path / "elsewhere", "Other CA").issue("stranger")
    own, theirs = authority.issue("gateway"), authority.issue("ris")
    files = {"certificate_file": own.certificate_file, "key_file": own.key_file, "ca_file": authority.ca_file}
    context, strange = (
        receiver_context(authority.ca_file, Credentials(issued.certificate_file, issued.key_file))
        for issued in (theirs, stranger)
    )
    with HubServer(hub) as server:
        hospital.start(server.url, tls={**files, "require_client_certificate": True}, reader={"tls": True})
        assert hospital.send(oru(), context).get("MSA", 1) == "AA"
        for wrong, words in ((strange, "not signed by the configured CA"), (None, "does not speak TLS")):
            with pytest.raises((PeerClosed, OSError)):
                hospital.send(oru(message_id="W2"), wrong)
            eventually(lambda said=words: is_told(hospital, said))
        hospital.stop()
    assert len(hospital.journal.read("SELECT * FROM reader_reports")) == 1


def is_told(hospital: Hospital, words: str) -> None:
    reasons = [refusal.reason for refusal in latest_refusals(hospital.journal, 9)]
    assert any(words in reason for reason in reasons), reasons


def test_a_broken_message_does_not_disturb_the_next(hub: Hub, hospital: Hospital, claimed: tuple[str, str]) -> None:
    with HubServer(hub) as server:
        hospital.start(server.url)
        assert hospital.link is not None
        with socket.create_connection(("127.0.0.1", hospital.link.port)) as half:
            half.sendall(b"\x0bMSH|^~\\&|half")
        assert hospital.send(oru()).get("MSA", 1) == "AA"
        hospital.stop()


def _has_draft(hub: Hub, case_id: str) -> None:
    assert draft_of(hub, case_id) is not None
