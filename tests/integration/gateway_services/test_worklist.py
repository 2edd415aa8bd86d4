"""The worklist, asked by DCMTK's findscu and by pynetdicom as scanners do; there is no hub in these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE

from gateway.orders import cancel_order, enter_order
from storage.contract.orders import Order, OrderOrigin
from tests.integration.gateway_receive.modality import dcmtk
from tests.integration.gateway_receive.receiving import utc_now
from tests.integration.gateway_services.answering import AnsweringGateway
from tests.integration.gateway_services.conftest import refusal_that_says

pytestmark = pytest.mark.services

WORKLIST = "1.2.840.10008.5.1.4.31"
CLINIC = ZoneInfo("Asia/Shanghai")
TYPED = {
    "patient_number": "P1",
    "patient_name": "张^三",
    "modality": "CT",
    "procedure_code": "CT-HEAD",
    "procedure_name": "头颅CT平扫",
    "question": "排除出血",
}
STEP = "ScheduledProcedureStepSequence"


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., AnsweringGateway]]:
    running: list[AnsweringGateway] = []

    def start(**dicom: Any) -> AnsweringGateway:
        gateway = AnsweringGateway(tmp_path / f"gateway{len(running)}", dicom=dicom).start()
        gateway.enrol()
        running.append(gateway)
        return gateway

    yield start
    for gateway in running:
        gateway.stop()


Begin = Callable[..., AnsweringGateway]


def enter(gateway: AnsweringGateway, **typed: Any) -> Order:
    return enter_order(gateway.journal, TYPED | typed, entered_by="t", origin=OrderOrigin.CONSOLE, now=utc_now())


def at(hour: int, minute: int = 0, *, days: int = 0) -> datetime:
    today = utc_now().astimezone(CLINIC).replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today + timedelta(days=days)


def findscu(gateway: AnsweringGateway, directory: Path, *keys: str, calling: str = "CT1") -> list[Dataset]:
    """Return the answers as findscu wrote them down."""
    directory.mkdir(exist_ok=True)
    arguments = [word for key in keys for word in ("-k", key)]
    address = ("127.0.0.1", str(gateway.port))
    done = dcmtk("findscu", "-W", "-aet", calling, "-X", "-od", str(directory), *arguments, *address)
    assert done.returncode == 0, done.stderr
    return [dcmread(path, force=True) for path in sorted(directory.glob("rsp*.dcm"))]


def ask(
    gateway: AnsweringGateway, step: dict[str, Any] | None = None, *, calling: str = "CT1", **keys: Any
) -> list[tuple[int, Dataset | None]]:
    dataset = Dataset()
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    nested = Dataset()
    for keyword, value in (step or {}).items():
        setattr(nested, keyword, value)
    setattr(dataset, STEP, Sequence([nested]))
    ae = AE(ae_title=calling)
    ae.add_requested_context(WORKLIST)
    association = ae.associate("127.0.0.1", gateway.port, ae_title="GATEWAY")
    assert association.is_established
    try:
        return [(int(status.Status), answer) for status, answer in association.send_c_find(dataset, WORKLIST)]
    finally:
        association.release()


def found(gateway: AnsweringGateway, step: dict[str, Any] | None = None, **keys: Any) -> list[str]:
    """Return the names of the patients that match."""
    *answers, (last, _) = ask(gateway, step, **{"PatientName": "", **keys})
    assert last == 0x0000
    return sorted(str(answer.PatientName) for _, answer in answers if answer is not None)


def test_findscu_gets_all_that_a_scanner_needs(begin: Begin, tmp_path: Path) -> None:
    gateway = begin()
    order = enter(gateway, birth_date="1949-12-31", sex="F", lane="stat", scheduled_at=at(9, 30))
    (answer,) = findscu(
        gateway,
        tmp_path / "answers",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyInstanceUID",
        "RequestedProcedureID",
        "RequestedProcedurePriority",
        "RequestedProcedureCodeSequence[0].CodeValue",
        f"{STEP}[0].ScheduledStationAETitle=CT1",
        f"{STEP}[0].Modality=CT",
        f"{STEP}[0].ScheduledProcedureStepStartDate",
        f"{STEP}[0].ScheduledProcedureStepStartTime",
        f"{STEP}[0].ScheduledProcedureStepID",
        f"{STEP}[0].ScheduledProcedureStepDescription",
    )
    (step,) = answer[STEP].value
    assert str(answer.PatientName) == "张^三"
    assert (answer.PatientID, answer.PatientBirthDate, answer.PatientSex) == ("P1", "19491231", "F")
    assert (answer.AccessionNumber, answer.StudyInstanceUID) == (order.accession_number, order.study_uid)
    assert (answer.RequestedProcedureID, answer.RequestedProcedurePriority) == (order.accession_number, "STAT")
    assert answer.RequestedProcedureCodeSequence[0].CodeValue == "CT-HEAD"
    assert (step.ScheduledStationAETitle, step.Modality) == ("CT1", "CT")
    assert step.ScheduledProcedureStepStartDate == f"{at(9):%Y%m%d}"
    assert step.ScheduledProcedureStepStartTime == "093000"
    assert (step.ScheduledProcedureStepID, step.ScheduledProcedureStepDescription) == (
        order.accession_number,
        "头颅CT平扫",
    )


@pytest.mark.parametrize(
    ("declared", "in_answer", "codec"),
    [
        ("ISO_IR 192", "ISO_IR 192", "utf-8"),
        ("GB18030", "GB18030", "gb18030"),
        ("GBK", "GBK", "gbk"),
        ("\\ISO 2022 IR 58", "\\ISO 2022 IR 58", "iso2022"),
    ],
)
def test_each_scanner_gets_chinese_names_in_the_character_set_that_it_asks_in(
    begin: Begin, tmp_path: Path, declared: str, in_answer: str, codec: str
) -> None:
    gateway = begin()
    enter(gateway)
    (answer,) = findscu(
        gateway,
        tmp_path / "answers",
        f"SpecificCharacterSet={declared}",
        "PatientName",
        f"{STEP}[0].ScheduledProcedureStepDescription",
    )
    written = (tmp_path / "answers" / "rsp0001.dcm").read_bytes()
    name = {"iso2022": b"\x1b$)A" + "张".encode("gb2312")}.get(codec) or "张^三".encode(codec)
    assert name in written
    value = answer.SpecificCharacterSet
    assert (value if isinstance(value, str) else "\\".join(value)) == in_answer
    assert str(answer.PatientName) == "张^三"
    assert answer[STEP].value[0].ScheduledProcedureStepDescription == "头颅CT平扫"
    as_dcmtk_reads_it = dcmtk("dcmdump", "+U8", str(tmp_path / "answers" / "rsp0001.dcm")).stdout
    assert "张^三" in as_dcmtk_reads_it
    assert "头颅CT平扫" in as_dcmtk_reads_it


def test_scanner_that_names_no_character_set_gets_the_one_configured_for_it(begin: Begin) -> None:
    gateway = begin(
        allowed_calling_ae_titles=["US1"], peers=[{"name": "ct", "ae_title": "CT1", "character_set": "GB18030"}]
    )
    enter(gateway)
    assert [answer.SpecificCharacterSet for _, answer in ask(gateway, PatientName="") if answer] == ["GB18030"]
    answers = ask(gateway, PatientName="", calling="US1")
    assert [answer.SpecificCharacterSet for _, answer in answers if answer] == ["ISO_IR 192"]


def test_rare_character_that_the_scanner_cannot_read_makes_the_answer_unicode(begin: Begin) -> None:
    gateway = begin()
    enter(gateway, patient_name="䶮^三")
    ((_, answer), _) = ask(gateway, PatientName="", SpecificCharacterSet="GBK")
    assert answer is not None
    assert (answer.SpecificCharacterSet, str(answer.PatientName)) == ("ISO_IR 192", "䶮^三")


def test_keys_narrow_the_list_as_the_standard_says(begin: Begin) -> None:
    gateway = begin()
    enter(gateway, scheduled_at=at(9), station_ae_title="CT1")
    enter(gateway, patient_name="李四", patient_number="P2", scheduled_at=at(15))
    dx = enter(gateway, patient_name="王五", patient_number="P3", modality="DX", scheduled_at=at(10, days=2))
    today, in_two_days = f"{at(0):%Y%m%d}", f"{at(0, days=2):%Y%m%d}"
    date, time = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"
    assert found(gateway) == ["张^三", "李四", "王五"]
    assert found(gateway, {"Modality": "DX"}) == ["王五"]
    assert found(gateway, {"ScheduledStationAETitle": "CT1"}) == ["张^三", "李四", "王五"]
    assert found(gateway, {"ScheduledStationAETitle": "CT9", "Modality": "CT"}) == ["李四"]
    assert found(gateway, {date: today}) == ["张^三", "李四"]
    assert found(gateway, {date: f"{today}-{in_two_days}"}) == ["张^三", "李四", "王五"]
    assert found(gateway, {date: f"-{today}"}) == ["张^三", "李四"]
    assert found(gateway, {date: today, time: "1200-"}) == ["李四"]
    # A range of days with a range of times is one period, not the same hours of each day.
    assert found(gateway, {date: f"{today}-{in_two_days}", time: "1200-1100"}) == ["李四", "王五"]
    assert found(gateway, PatientName="张*", SpecificCharacterSet="GB18030") == ["张^三"]
    assert found(gateway, PatientName="*三", SpecificCharacterSet="ISO_IR 192") == ["张^三"]
    assert found(gateway, PatientID="P2") == ["李四"]
    assert found(gateway, AccessionNumber=dx.accession_number) == ["王五"]
    assert found(gateway, RequestedProcedureID=dx.accession_number) == ["王五"]
    assert found(gateway, PatientID="P9") == []


def test_what_is_done_cancelled_or_long_past_is_not_on_the_list(begin: Begin) -> None:
    gateway = begin()
    cancelled = enter(gateway)
    cancel_order(
        gateway.journal, cancelled.order_id, cancelled.version, "wrong patient", cancelled_by="t", now=utc_now()
    )
    enter(gateway, patient_name="李四", scheduled_at=utc_now() - timedelta(days=30))
    assert found(gateway) == []


def test_whole_sequence_is_answered_when_nothing_in_it_is_named(begin: Begin) -> None:
    gateway = begin()
    order = enter(gateway)
    ((_, answer), _) = ask(gateway, {})
    assert answer is not None
    assert answer[STEP].value[0].ScheduledProcedureStepID == order.accession_number


def test_unnamed_emergency_patient_is_on_the_list(begin: Begin) -> None:
    gateway = begin()
    enter(gateway, patient_name="", identity_kind="unnamed", lane="stat", green_channel="stroke", visit_kind="E")
    assert found(gateway, SpecificCharacterSet="GB18030") == ["无名氏"]


def test_an_identity_number_never_goes_to_a_scanner(begin: Begin, tmp_path: Path) -> None:
    gateway = begin()
    enter(gateway, identity_kind="resident", identity_number="11010519491231002X")
    findscu(gateway, tmp_path / "answers", "(0010,1000)", "PatientID", "OtherPatientIDsSequence", STEP)
    assert b"491231002" not in (tmp_path / "answers" / "rsp0001.dcm").read_bytes()


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_query_that_is_none_is_refused_in_words(begin: Begin) -> None:
    gateway = begin()
    enter(gateway)
    assert [status for status, _ in ask(gateway, {"ScheduledProcedureStepStartDate": "2026ABCD"})] == [0xA900]
    assert refusal_that_says(gateway, "date key").status == 0xA900
    assert [status for status, _ in ask(gateway, PatientComments="x" * 2000)] == [0xA900]


def test_too_many_matches_end_with_out_of_resources(begin: Begin) -> None:
    gateway = begin(matches_max=1)
    enter(gateway)
    enter(gateway)
    assert [status for status, _ in ask(gateway, PatientName="")] == [0xFF00, 0xA700]
    assert "matches_max" in refusal_that_says(gateway, "narrow the query").remedy


def test_key_that_no_item_has_comes_back_empty_with_a_warning(begin: Begin) -> None:
    gateway = begin()
    enter(gateway)
    ((status, answer), _) = ask(gateway, PatientName="", PatientReligiousPreference="")
    assert status == 0xFF01
    assert answer is not None
    assert answer.PatientReligiousPreference in (None, "")


def test_query_is_cancelled(begin: Begin) -> None:
    gateway = begin()
    for _ in range(20):
        enter(gateway)
    address = ("127.0.0.1", str(gateway.port))
    done = dcmtk("findscu", "-W", "-v", "-aet", "CT1", "--cancel", "1", "-k", "PatientName", *address)
    assert done.returncode == 0, done.stderr


def test_device_that_may_not_ask_is_refused_in_words(begin: Begin) -> None:
    gateway = begin(peers=[{"name": "ws", "ae_title": "WS", "may": ["query"]}])
    done = dcmtk("findscu", "-W", "-aet", "WS", "-k", "PatientName", "127.0.0.1", str(gateway.port))
    assert done.returncode != 0
    assert '"worklist"' in refusal_that_says(gateway, "asked for Modality Worklist, which it may not use").remedy
