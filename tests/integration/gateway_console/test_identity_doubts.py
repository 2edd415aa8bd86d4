"""The clinic settles whose a study is at its own console: the doubt is seen, the decision is kept and told."""

from __future__ import annotations

import re

import pytest

from gateway.journal.accounts import take_over_accounts
from gateway.journal.database import Journal
from gateway.journal.identity_doubts import due_settlements, note_settled, take_over_doubts
from gateway.orders import enter_order
from storage.contract.course import SiteActRefusal, SiteActsAnswer
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.identity_doubts import IdentityDoubt, PersonTold, SettlementKind
from storage.contract.orders import OrderOrigin
from tests.integration.gateway_console.conftest import Clinic, enrol, hub_account
from tests.integration.gateway_console.day import Day

FACTS = "ab" * 32
ORDER = {
    "patient_number": "P0001",
    "patient_name": "李四",
    "sex": "F",
    "modality": "CT",
    "procedure_name": "胸部CT平扫",
}
CORRECTED = {"kind": "correct", "patient_name": "张三", "birth_date": "1962-05-04", "sex": "M", "identity_kind": ""}


@pytest.fixture
def day(clinic: Clinic) -> Day:
    enrol(clinic.journal, clinic.clock)
    return Day(clinic)


@pytest.fixture
def study(day: Day) -> Uid:
    """A study at the hub that does not seem to be of the patient of its order."""
    study_uid = day.study("Zhang^San=张^三")
    day.transfer(study_uid, "confirmed")
    day.at_hub(study_uid, Hop.CATALOGUED, Hop.IDENTITY_DOUBTED)
    doubt_it(day.clinic, study_uid)
    return study_uid


def doubt_it(clinic: Clinic, study_uid: Uid, *, with_order: bool = True, **more: object) -> None:
    order = enter_order(
        clinic.journal, ORDER, entered_by="x", origin=OrderOrigin.CONSOLE, now=clinic.clock(), order_id="order000"
    )
    in_order = PersonTold(patient_number=order.patient_number, name="Li Si=李四", sex="F", birth_date="1971-01-01")
    values = {
        "conflict_id": "c1",
        "study_uid": study_uid,
        "order_id": order.order_id if with_order else "",
        "accession_number": order.accession_number,
        "mismatches": ("name", "sex", "a_newer_one"),
        "facts_sha256": FACTS,
        "found_at": clinic.clock(),
        "holds": True,
        "in_images": PersonTold(patient_number="P0001", name="Zhang^San=张^三", sex="M", birth_date="1962-05-04"),
        "in_order": in_order if with_order else None,
    }
    take_over_doubts(clinic.journal, [IdentityDoubt.model_validate(values | more)])


def settle(clinic: Clinic, study: Uid, **form: str) -> int:
    someone = clinic.logged_in()
    someone.get(f"/studies/{study}")
    values = {"conflict_id": "c1", "facts_sha256": FACTS, "kind": "confirm", "reason": "已电话核对"} | form
    return someone.post(f"/studies/{study}/identity", **values).status


def test_a_doubt_is_shown_with_both_sides_and_settled_without_a_line(clinic: Clinic, study: Uid):
    someone = clinic.logged_in()
    assert "患者身份存疑，检查暂停派单" in someone.get("/attention").text
    page = someone.get(f"/studies/{study}").text
    for words in ("已暂停派单", "姓名不同", "性别不同", "a_newer_one", "李四", "张三", "1971-01-01", "1962-05-04"):
        assert words in page
    form = {"conflict_id": "c1", "facts_sha256": FACTS, "kind": "confirm", "reason": " 已电话核对 "}
    answer = someone.post(f"/studies/{study}/identity", **form)
    assert (answer.status, answer.headers["Location"]) == (303, f"/studies/{study}?done=identity")
    (act,) = due_settlements(Journal(clinic.journal.path), 10)
    assert (act.kind, act.reason, act.study_uid, act.facts_sha256) == (
        SettlementKind.CONFIRM,
        "已电话核对",
        study,
        FACTS,
    )
    page = someone.get(f"/studies/{study}").text
    assert "等待送往中心" in page
    assert "高原" in page
    assert 'name="conflict_id"' not in page, "it is decided once"
    assert "患者身份存疑，检查暂停派单" not in someone.get("/attention").text
    assert "identity_confirm" in clinic.verbs()


def test_a_correction_says_who_the_order_names(clinic: Clinic, study: Uid):
    assert settle(clinic, study, **CORRECTED, reason="登记写错") == 303
    (act,) = due_settlements(clinic.journal, 10)
    assert act.person is not None
    changes = act.person.changes()
    assert {name: str(value) for name, value in changes.items()} == {
        "patient_name": "张三",
        "birth_date": "1962-05-04",
        "sex": "M",
    }


@pytest.mark.parametrize(
    "form",
    [
        {"conflict_id": "c2"},
        {"facts_sha256": "cd" * 32},
        {"reason": "  "},
        {"reason": "长" * 501},
        CORRECTED | {"identity_kind": "resident", "identity_number": "110105194912310021"},
        CORRECTED | {"patient_name": ""},
    ],
)
def test_what_cannot_be_is_refused_in_words_and_not_kept(clinic: Clinic, study: Uid, form: dict[str, str]):
    someone = clinic.logged_in()
    values = {"conflict_id": "c1", "facts_sha256": FACTS, "kind": "confirm", "reason": "核对"} | form
    page = someone.post(f"/studies/{study}/identity", **values)
    assert page.status == 409
    assert re.search(r"[\u4e00-\u9fff]{6,}", page.text)
    assert due_settlements(clinic.journal, 10) == []


@pytest.mark.parametrize("form", [{"kind": "guess"}, CORRECTED | {"birth_date": "x"}, CORRECTED | {"sex": "Z"}])
def test_a_form_that_no_page_sends_is_refused(clinic: Clinic, study: Uid, form: dict[str, str]):
    assert settle(clinic, study, **form) == 422
    assert due_settlements(clinic.journal, 10) == []


def test_a_doubt_about_images_alone_has_no_order_to_take_away(clinic: Clinic, study: Uid):
    doubt_it(clinic, study, with_order=False, mismatches=("id_checksum",))
    page = clinic.logged_in().get(f"/studies/{study}").text
    assert 'value="confirm"' in page
    assert 'value="unlink"' not in page
    assert settle(clinic, study, kind="unlink") == 409


def test_what_the_hub_refuses_is_told_until_somebody_has_seen_it(clinic: Clinic, study: Uid):
    settle(clinic, study)
    (act,) = due_settlements(clinic.journal, 10)
    refusal = SiteActRefusal(act_id=act.act_id, code="identity_changed", reason="look again")
    note_settled(clinic.journal, SiteActsAnswer(done=(), refused=(refusal,)))
    someone = clinic.logged_in()
    page = someone.get(f"/studies/{study}").text
    assert "请重新核对双方信息再处理" in page
    assert 'name="conflict_id"' in page, "it can be decided again"
    assert "中心没有接受本院的答复或请求" in someone.get("/attention").text
    someone.post(f"/attention/act-{act.act_id}/settled")
    assert "中心没有接受本院的答复或请求" not in someone.get("/attention").text


def test_only_the_clinics_operators_settle(clinic: Clinic, study: Uid):
    take_over_accounts(clinic.journal, [hub_account("doctor", role="physician")], "v1", clinic.clock())
    doctor = clinic.logged_in("doctor")
    page = doctor.get(f"/studies/{study}").text
    assert "患者身份存疑" in page
    assert 'name="conflict_id"' not in page
    form = {"conflict_id": "c1", "facts_sha256": FACTS, "kind": "confirm", "reason": "核对"}
    assert doctor.post(f"/studies/{study}/identity", **form).status == 403


def test_an_emergency_is_not_said_to_be_held(clinic: Clinic, study: Uid):
    doubt_it(clinic, study, holds=False)
    someone = clinic.logged_in()
    assert "急诊不因此等待" in someone.get(f"/studies/{study}").text
    assert "急诊已照常派单" in someone.get("/attention").text
