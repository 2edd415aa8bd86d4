"""What a store request came to, instance by instance, and how it is answered (PS3.18 section 10.5.3). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from storage.dicomweb.json_rows import DicomJson

FAILED_SEQUENCE: Final = "00081198"
KEPT_SEQUENCE: Final = "00081199"
OTHER_FAILURES_SEQUENCE: Final = "0008119A"  # of what cannot be named
FAILURE_REASON: Final = "00081197"
RETRIEVE_URL: Final = "00081190"
CLASS_UID: Final = "00081150"
INSTANCE_UID: Final = "00081155"
WARNINGS_MAX: Final = 20  # sentences in the head of an answer

InstanceAddress = Callable[["Kept"], str]


class Reason(IntEnum):
    """Failure Reason (0008,1197): PS3.18 table I.2-2, PS3.7 annex C where that names it better."""

    PROCESSING_FAILURE = 0x0110
    OTHER_CONTENTS = 0x0111  # duplicate SOP Instance: this UID is held with other contents
    NOT_ALLOWED = 0x0124
    NO_ROOM = 0xA700
    DOES_NOT_BELONG = 0xA900  # the dataset does not match what it claims to belong to
    NOT_UNDERSTOOD = 0xC000


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """One part of a request in a file; `number` counts from 1. `refusal` says why it was not kept as a file."""

    number: int
    path: Path
    size_bytes: int
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """One instance that the hub holds, since this request or before it."""

    study_uid: str
    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Failed:
    """One part that was not stored, in words for a person that name UIDs only; UIDs are empty where it has none."""

    number: int
    reason: Reason
    words: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a whole request came to; every part is in exactly one of the two."""

    kept: tuple[Kept, ...]
    failed: tuple[Failed, ...]

    @property
    def status(self) -> HTTPStatus:
        """Return 200 when all is kept, 202 when some is, 409 when nothing is (PS3.18 table 10.5.3-1)."""
        if not self.failed:
            return HTTPStatus.OK
        return HTTPStatus.ACCEPTED if self.kept else HTTPStatus.CONFLICT


def answer_json(outcome: Outcome, study_url: str | None, instance_url: InstanceAddress) -> DicomJson:
    """Return the Store Instances Response Module (PS3.3 section C.38.1); `study_url` of a request about one study."""
    answer: DicomJson = {}
    if study_url is not None:
        answer[RETRIEVE_URL] = {"vr": "UR", "Value": [study_url]}
    named = [failed for failed in outcome.failed if failed.sop_instance_uid]
    unnamed = [failed for failed in outcome.failed if not failed.sop_instance_uid]
    sequences: tuple[tuple[str, list[DicomJson]], ...] = (
        (FAILED_SEQUENCE, [_failed_item(failed) for failed in named]),
        (KEPT_SEQUENCE, [_kept_item(kept, instance_url(kept)) for kept in outcome.kept]),
        (OTHER_FAILURES_SEQUENCE, [_reason(failed) for failed in unnamed]),
    )
    return answer | {tag: {"vr": "SQ", "Value": items} for tag, items in sequences if items}


def warnings_of(failed: Iterable[Failed]) -> list[str]:
    """Return the values of Warning headers (RFC 7234 section 5.5) that say in words why parts were not stored."""
    sentences = list(dict.fromkeys(one.words for one in failed))
    shown = sentences[:WARNINGS_MAX]
    if len(sentences) > len(shown):
        shown.append(f"and {len(sentences) - len(shown)} more")
    return ['299 - "{}"'.format(words.replace("\\", "").replace('"', "'")) for words in shown]


def _failed_item(failed: Failed) -> DicomJson:
    return {**_uids(failed.sop_class_uid, failed.sop_instance_uid), **_reason(failed)}


def _kept_item(kept: Kept, url: str) -> DicomJson:
    uids = _uids(kept.sop_class_uid, kept.sop_instance_uid)
    return {**uids, RETRIEVE_URL: {"vr": "UR", "Value": [url]}}


def _uids(class_uid: str, instance_uid: str) -> dict[str, Any]:
    return {
        CLASS_UID: {"vr": "UI", "Value": [class_uid]},
        INSTANCE_UID: {"vr": "UI", "Value": [instance_uid]},
    }


def _reason(failed: Failed) -> DicomJson:
    return {FAILURE_REASON: {"vr": "US", "Value": [int(failed.reason)]}}
