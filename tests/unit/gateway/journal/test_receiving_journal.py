"""The journal of what arrived."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.journal.associations import (
    Refusal,
    close_association,
    latest_refusals,
    open_association,
    open_association_ids,
    record_refusal,
    tallies_of,
)
from gateway.journal.custody import add_custody, custody_of, mark_reported, unreported_custody
from gateway.journal.database import Journal
from gateway.journal.instances import (
    InstanceRow,
    add_instance,
    find_instance,
    instances_of,
    place_instances,
    place_transfer,
)
from gateway.spool import SpoolState
from storage.contract.hops import Hop
from storage.contract.identifiers import Sha256Hex, Uid

NOON = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
STUDY = Uid("1.2.3")
ROW = InstanceRow(
    sop_instance_uid=Uid("1.2.3.1"),
    study_uid=STUDY,
    series_uid=Uid("1.2.3.9"),
    sop_class_uid=Uid("1.2.840.10008.5.1.4.1.1.2"),
    transfer_syntax_uid=Uid("1.2.840.10008.1.2.1"),
    received_sha256=Sha256Hex("0" * 64),
    stored_sha256=Sha256Hex("1" * 64),
    pixel_sha256=None,
    size_bytes=1000,
    received_at=NOON,
    calling_ae_title="CT1",
    association_id="a1",
    state=SpoolState.INCOMING,
    revision=None,
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.sqlite3")


def test_instance_is_found_as_it_was_added(journal: Journal) -> None:
    with journal.transaction() as connection:
        add_instance(connection, ROW)
    assert find_instance(journal, ROW.sop_instance_uid) == ROW
    assert find_instance(journal, Uid("9")) is None


def test_instance_is_added_once(journal: Journal) -> None:
    with journal.transaction() as connection:
        add_instance(connection, ROW)
    with journal.transaction() as connection, pytest.raises(sqlite3.IntegrityError):
        add_instance(connection, replace(ROW, study_uid=Uid("1.2.4")))
    assert find_instance(journal, ROW.sop_instance_uid) == ROW


def test_instances_are_listed_by_state_and_transfer(journal: Journal) -> None:
    second = replace(ROW, sop_instance_uid=Uid("1.2.3.2"))
    with journal.transaction() as connection:
        add_instance(connection, second)
        add_instance(connection, ROW)
        place_instances(connection, [second.sop_instance_uid], SpoolState.READY, 1)
    assert [row.sop_instance_uid for row in instances_of(journal, STUDY)] == ["1.2.3.1", "1.2.3.2"]
    assert instances_of(journal, STUDY, SpoolState.INCOMING) == [ROW]
    with journal.transaction() as connection:
        place_transfer(connection, STUDY, 1, SpoolState.SENT)
    assert instances_of(journal, STUDY, SpoolState.SENT, 1) == [replace(second, state=SpoolState.SENT, revision=1)]


def test_end_of_an_association_is_told_once_for_each_study(journal: Journal) -> None:
    other = replace(ROW, sop_instance_uid=Uid("1.2.4.1"), study_uid=Uid("1.2.4"), size_bytes=5)
    with journal.transaction() as connection:
        open_association(connection, "a1", "CT1", "127.0.0.1", NOON)
        for row in (ROW, replace(ROW, sop_instance_uid=Uid("1.2.3.2")), other):
            add_instance(connection, row)
    assert open_association_ids(journal) == ["a1"]
    for _ in range(2):
        close_association(journal, "a1", NOON)
    assert open_association_ids(journal) == []
    assert [(tally.study_uid, tally.instances, tally.size_bytes) for tally in tallies_of(journal, "a1")] == [
        ("1.2.3", 2, 2000),
        ("1.2.4", 1, 5),
    ]
    (event,) = custody_of(journal, STUDY)
    assert event.hop is Hop.RECEIVED
    assert event.detail["instances"] == 2
    assert event.detail["calling_ae_title"] == "CT1"


def test_custody_is_numbered_without_gaps_and_reported_in_order(journal: Journal) -> None:
    with journal.transaction() as connection:
        first = add_custody(connection, Hop.RECEIVED, STUDY, NOON, {"instances": 1})
    with pytest.raises(ValueError, match="roll back"):
        add_custody_and_fail(journal)
    with journal.transaction() as connection:
        second = add_custody(connection, Hop.COMPLETED, STUDY, NOON, {"because": "forced"})
    assert (first, second) == (1, 2)
    assert [event.seq for event in unreported_custody(journal, 1)] == [1]
    with journal.transaction() as connection:
        mark_reported(connection, 1)
    assert [(event.seq, event.hop) for event in unreported_custody(journal, 10)] == [(2, Hop.COMPLETED)]


def add_custody_and_fail(journal: Journal) -> None:
    with journal.transaction() as connection:
        add_custody(connection, Hop.COMPLETED, STUDY, NOON, {})
        raise ValueError("roll back")


def test_newest_refusal_is_shown_first(journal: Journal) -> None:
    refusal = Refusal(NOON, "CT1", "127.0.0.1", 0xA700, "Gateway disk is full", "Free space")
    with journal.transaction() as connection:
        record_refusal(connection, replace(refusal, status=None))
        record_refusal(connection, refusal)
    assert latest_refusals(journal, 1) == [refusal]
    assert latest_refusals(journal, 10) == [refusal, replace(refusal, status=None)]


def test_journal_survives_being_opened_again(journal: Journal, tmp_path: Path) -> None:
    with journal.transaction() as connection:
        add_instance(connection, ROW)
    assert find_instance(Journal(tmp_path / "journal.sqlite3"), ROW.sop_instance_uid) == ROW
