"""A pack's record gives back the facts with which it was catalogued, or says that they must be taken anew."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, date, datetime

import pytest

from storage.catalogue.indexing import FACTS_VERSION, MemberFacts, PackFacts, PatientFacts, SeriesFacts, StudyFacts
from storage.catalogue.pack_records import (
    CataloguedFacts,
    PackRecord,
    RecordUnreadable,
    dump_facts,
    find_facts,
    is_record_key,
    is_revision_key,
    parse_pack_record,
)
from storage.contract.identifiers import SiteId, Uid
from storage.contract.manifest import InstanceEntry

NOW = datetime(2026, 3, 2, 1, 2, 3, 456789, tzinfo=UTC)
DIGEST = "c" * 64
ENTRY = InstanceEntry(
    sop_instance_uid="1.2.3",
    sop_class_uid="1.2",
    series_uid="1.3",
    transfer_syntax_uid="1.4",
    received_sha256="a" * 64,
    stored_sha256="b" * 64,
    size_bytes=1000,
    received_at=NOW,
)
FACTS = CataloguedFacts(
    PatientFacts("P-1", "王^芳", date(1980, 2, 29), "F"),
    StudyFacts("1.9", "A", "1", "头颅", "", "", None, "0855", NOW, "GB18030", None, NOW),
    PackFacts(
        DIGEST,
        "k",
        "h",
        3000,
        (
            MemberFacts(
                ENTRY,
                SeriesFacts("1.3", "CT", None, "", "", date(2026, 3, 2), "08", ({"a": "b"},)),
                1,
                16,
                16,
                16,
                1,
                2048,
                [{"spans": [[1, 2]]}],
            ),
        ),
    ),
)
# What a record holds of the facts, by version: whoever adds one raises FACTS_VERSION, and older records are read anew.
KNOWN = {
    1: {
        PatientFacts: "number name birth_date sex",
        StudyFacts: "study_uid accession_number study_number description body_part referring_physician study_date"
        " study_time exam_started_at character_set character_set_repair first_received_at",
        SeriesFacts: "series_uid modality number description body_part performed_date performed_time requests",
        MemberFacts: "entry series number rows columns bits_allocated frame_count offset_bytes frame_spans",
        PackFacts: "pack_sha256 object_key headers_key size_bytes members",
    }
}


def record(**changes: object) -> PackRecord:
    values = {
        "number": 3,
        "verified_at": NOW,
        "site_id": SiteId("qinghe"),
        "time_zone": "Asia/Shanghai",
        "study_uid": Uid("1.9"),
        "pack_sha256": DIGEST,
        "size_bytes": 3000,
        "purpose": "read",
        "first_received_at": NOW,
        "entries": (ENTRY,),
        "facts_version": FACTS_VERSION,
        "facts": dump_facts(FACTS),
    }
    return PackRecord.model_validate(values | changes)


def test_record_gives_back_what_it_was_given() -> None:
    one = record()
    read = parse_pack_record(one.key, one.to_bytes())
    assert read == one
    assert find_facts(read) == FACTS


@pytest.mark.parametrize("changes", [{"facts": None}, {"facts_version": FACTS_VERSION - 1}, {"facts_version": 0}])
def test_facts_by_other_rules_are_not_believed(changes: dict[str, object]) -> None:
    assert find_facts(record(**changes)) is None


def test_facts_that_lack_something_are_said_to_be_unreadable_without_quoting_them() -> None:
    facts = dump_facts(FACTS)
    facts["patient"]["birth_date"] = "王芳"
    with pytest.raises(RecordUnreadable) as raised:
        find_facts(record(facts=facts))
    assert str(raised.value) == record().key
    assert raised.value.__cause__ is None


def test_every_fact_belongs_to_a_version_of_the_rules() -> None:
    for kind, names in KNOWN[FACTS_VERSION].items():
        assert [one.name for one in fields(kind)] == names.split(), (
            f"{kind.__name__}: raise FACTS_VERSION, note it here"
        )


def test_keys_tell_records_from_packs_and_headers() -> None:
    folder = f"studies/qinghe/1.9/packs/{DIGEST}"
    assert record().key == f"{folder}.record.json"
    assert is_record_key(f"{folder}.record.json")
    assert not is_record_key(f"{folder}.json")
    assert not is_record_key(f"{folder}.tar")
    assert is_revision_key("studies/qinghe/1.9/revisions/12.json")
    assert not is_revision_key("studies/qinghe/1.9/revisions/x.json")
