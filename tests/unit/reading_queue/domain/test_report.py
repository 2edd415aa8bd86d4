"""What physicians sign: its bytes, and what is checked in the text."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from reading_queue.domain.canonical import NotCanonical, canonical_bytes
from reading_queue.domain.report import (
    PatientIdentity,
    ReportContent,
    ReportedStudy,
    ReportText,
    Signatory,
    SubmissionContent,
    report_format,
)
from reading_queue.domain.wording import (
    CHARACTERS_MAX,
    CONTROL_CHARACTERS,
    FINDINGS_EMPTY,
    IMPRESSION_EMPTY,
    SIDES_DIFFER,
    TEMPLATE_RESIDUE,
    TOO_LONG,
    find_problems,
    find_unstorable,
    find_warnings,
)
from tests.support.reports import (
    report_content,
    report_of_one,
    report_of_two_orders,
    report_with_evidence,
    report_with_opinion,
)

CONTENT = SubmissionContent(
    submission_id="s",
    case_id="c",
    reading_task_id="t",
    site_id="clinic",
    patient=PatientIdentity(patient_number="1", name="张䶮", sex="M", birth_date=date(1960, 5, 1)),
    studies=(
        ReportedStudy(
            study_uid="1.2.3",
            accession_number="",
            description="胸部",
            modality="CT",
            body_part="CHEST",
            study_date=None,
            study_time="",
            referring_physician="",
        ),
    ),
    author=Signatory(
        physician_id="p",
        name="王",
        title="attending",
        licence_number="1",
        organisation_id="city",
        organisation_name="市医院",
    ),
    findings="所见",
    impression="印象",
    recommendation="",
    submitted_at=datetime(2026, 3, 2, 1, 0, 0, 123, tzinfo=UTC),
)


def test_signed_content_reads_back_equal_and_gives_the_same_bytes():
    data = CONTENT.canonical()
    assert SubmissionContent.from_json(data) == CONTENT
    assert SubmissionContent.from_json(data).canonical() == data


def test_canonical_bytes_have_sorted_keys_no_spaces_and_plain_utf8():
    assert canonical_bytes({"b": 1, "a": "张"}) == '{"a":"张","b":1}'.encode()
    assert b'"submitted_at":"2026-03-02T01:00:00.000123Z"' in CONTENT.canonical()


@pytest.mark.parametrize("content", [{"a": 1.5}, {"a": [{"b": 0.0}]}, {"a": {"b": (1, 2.0)}}])
def test_a_float_anywhere_is_refused(content):
    with pytest.raises(NotCanonical, match="float"):
        canonical_bytes(content)


def test_what_has_no_canonical_form_is_refused():
    with pytest.raises(NotCanonical):
        canonical_bytes({"a": 2**60})


def test_another_format_is_not_read():
    data = CONTENT.canonical().replace(b"counterpart-submission/1", b"counterpart-submission/9")
    with pytest.raises(ValidationError):
        SubmissionContent.from_json(data)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (ReportText(findings="双肺清晰。", impression="未见异常。"), ()),
        (ReportText(findings=" \n", impression=""), (FINDINGS_EMPTY, IMPRESSION_EMPTY)),
        (ReportText(findings="结节 XXX mm", impression="结节"), (TEMPLATE_RESIDUE,)),
        (ReportText(findings="结节 ___ mm", impression="结节"), (TEMPLATE_RESIDUE,)),
        (ReportText(findings="结节", impression="结节", recommendation="待补充"), (TEMPLATE_RESIDUE,)),
        (ReportText(findings="性染色体 XX", impression="结节"), ()),
        (ReportText(findings="a\x00b", impression="结节"), (CONTROL_CHARACTERS,)),
        (ReportText(findings="a\tb\r\nc", impression="结节"), ()),
        (ReportText(findings="长" * (CHARACTERS_MAX + 1), impression="结节"), (TOO_LONG,)),
    ],
)
def test_a_text_is_signed_only_when_it_is_whole(text, problems):
    assert find_problems(text) == problems


def test_a_draft_may_be_empty():
    assert find_unstorable(ReportText()) == ()


@pytest.mark.parametrize(
    ("findings", "impression", "warned"),
    [
        ("右肺上叶结节", "左肺上叶结节", True),
        ("右肺上叶结节", "右肺上叶结节", False),
        ("右肺上叶结节，约8mm左右", "左肺结节", True),
        ("结节约8mm左右", "左肺结节", False),
        ("双侧胸腔积液", "左侧为著的胸腔积液", False),
        ("左、右肺结节", "双肺结节", False),
        ("右肺结节", "双肺结节", True),
        ("Nodule in the right lung", "Nodule of the LEFT lung", True),
        ("Nodule in the right lung", "leftover text", False),
        ("右肺结节", "结节", False),
    ],
)
def test_a_side_that_only_the_impression_names_is_pointed_out(findings, impression, warned):
    warnings = find_warnings(ReportText(findings=findings, impression=impression))
    assert warnings == ((SIDES_DIFFER,) if warned else ())


def test_only_a_report_that_one_physician_signed_alone_has_the_field_of_its_format():
    alone = report_of_one()
    assert ReportContent.from_json(alone.canonical()) == alone
    assert json.loads(alone.canonical())["single_physician"]["agreement_version"] == 3
    for older in (report_content(), report_with_evidence(), report_with_opinion()):
        assert "single_physician" not in json.loads(older.canonical())
    assert report_format(says_more=True, has_opinions=True, is_single=True) == "counterpart-report/5"
    assert report_format(says_more=True) == "counterpart-report/3"


def test_only_a_report_whose_studies_do_not_name_its_orders_has_the_field_of_its_format():
    both = report_of_two_orders()
    assert ReportContent.from_json(both.canonical()) == both
    assert len(json.loads(both.canonical())["orders"]) == 2
    for older in (report_content(), report_with_evidence(), report_with_opinion(), report_of_one()):
        assert "orders" not in json.loads(older.canonical())
    assert report_format(says_more=True, is_single=True, names_orders=True) == "counterpart-report/6"
