"""Where things lie in the spool. Pure: names only, no I/O.

incoming/<study uid>/<sop instance uid>.dcm      acknowledged, the study is still arriving
ready/<study uid>.<revision>/…                   one transfer of the study, on its way to the hub
sent/<study uid>.<revision>/…                    the hub has confirmed it; a cache until it is old or room is needed
quarantine/<id>.dcm and <id>.json                refused or damaged, with the reason
reader/<reading task id>/<pack id>/…             copies of claimed cases in reader mode, never own studies
tmp/                                             being written, never acknowledged
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

from storage.contract.identifiers import Uid, parse_uid

INSTANCE_SUFFIX: Final = ".dcm"
REASON_SUFFIX: Final = ".json"
FRAGMENT_SUFFIX: Final = ".part"
COPY_SUFFIX: Final = ".copy"  # of a file in tmp that the hub has too
SMALLER_SUFFIX: Final = ".smaller"  # of a file in tmp that may take the place of a received one
TMP: Final = "tmp"
QUARANTINE: Final = "quarantine"
READER: Final = "reader"  # beside the states, so that the start-up scan takes nothing there for an own study


class SpoolState(StrEnum):
    """Where an instance stands; the order of the members is its road."""

    INCOMING = "incoming"
    READY = "ready"
    SENT = "sent"


def study_directory(root: Path, state: SpoolState, study_uid: Uid, revision: int | None) -> Path:
    """Return the directory of a study (INCOMING, no revision) or of one of its transfers."""
    if (state is SpoolState.INCOMING) != (revision is None):
        raise ValueError("a revision belongs to every state but INCOMING")
    name = parse_uid(study_uid) if revision is None else f"{parse_uid(study_uid)}.{revision}"
    return root / state / name


def instance_name(sop_instance_uid: Uid) -> str:
    """Return the file name of an instance."""
    return f"{parse_uid(sop_instance_uid)}{INSTANCE_SUFFIX}"


def parse_study_directory(state: SpoolState, name: str) -> tuple[Uid, int | None]:
    """Return study and revision of a directory's name.

    Raises:
        ValueError: no name that `study_directory` gives.
    """
    if state is SpoolState.INCOMING:
        return parse_uid(name), None
    study_uid, dot, revision = name.rpartition(".")
    if not dot or not revision.isdecimal() or int(revision) < 1:
        raise ValueError("not the directory of a transfer")
    return parse_uid(study_uid), int(revision)


def parse_instance_name(name: str) -> Uid:
    """Return the SOP Instance UID of a file's name.

    Raises:
        ValueError: no name that `instance_name` gives.
    """
    if not name.endswith(INSTANCE_SUFFIX):
        raise ValueError("not an instance file")
    return parse_uid(name.removesuffix(INSTANCE_SUFFIX))
