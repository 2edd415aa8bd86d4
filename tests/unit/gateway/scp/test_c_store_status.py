"""Every refusal of a C-STORE has its own status, words that fit, and a remedy."""

from __future__ import annotations

import sqlite3

import pytest

from gateway.errors import CommandMismatch, DuplicateDiffers, ObjectTooLarge, SpoolFull
from gateway.scp.c_store_status import (
    C_STORE_FAILURES,
    DISK_FULL,
    ERROR_COMMENT_CHARACTERS_MAX,
    NOT_AUTHORISED,
    UNEXPECTED,
    StoreFailure,
    find_failure,
)
from storage.contract.identifiers import InvalidIdentifier
from storage.dicom.headers import MissingIdentifier, NotDicom
from storage.dicom.structure import DatasetTruncated, PixelDataShort

FAILURES = [failure for _, failure in C_STORE_FAILURES] + [UNEXPECTED]


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (SpoolFull("full"), 0xA700),
        (ObjectTooLarge("large"), 0xA702),
        (CommandMismatch("other"), 0xA900),
        (NotDicom("no"), 0xC110),
        (MissingIdentifier("Study Instance UID is missing"), 0xC111),
        (InvalidIdentifier("no"), 0xC112),
        (DatasetTruncated("short"), 0xC113),
        (PixelDataShort("short"), 0xC114),
        (DuplicateDiffers("twice"), 0xC116),
        (KeyError("a bug"), 0xC211),
    ],
)
def test_failure_has_its_status(problem: Exception, status: int) -> None:
    assert find_failure(problem).status == status


def test_full_journal_is_a_full_disk() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as full:
        connection.execute("CREATE TABLE large AS SELECT zeroblob(100000)")
    connection.close()
    assert find_failure(full.value) is DISK_FULL


def test_no_two_failures_share_a_status_or_a_code() -> None:
    assert len({failure.status for failure in FAILURES}) == len(FAILURES)
    assert len({failure.code for failure in FAILURES}) == len(FAILURES)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.code)
def test_words_fit_into_an_error_comment_and_name_a_remedy(failure: StoreFailure) -> None:
    assert 0 < len(failure.comment) <= ERROR_COMMENT_CHARACTERS_MAX
    assert failure.comment.isascii()
    assert failure.remedy


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.code)
def test_every_status_is_a_failure_of_the_storage_service(failure: StoreFailure) -> None:
    assert failure.status >> 8 in {0xA7, 0xA9} or failure.status >> 12 == 0xC or failure.status == NOT_AUTHORISED
