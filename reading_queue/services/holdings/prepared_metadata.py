"""The headers of a whole study in one object for each of its revisions: the body of the job `studies.prepare_metadata`.

Durable: that a study's headers are asked for, with what changed the study; the object; the row that says where it is.
Killed anywhere, it is done again by the sweep: keys follow from the revision, bytes from the headers. Whoever reads
meanwhile gets the headers from the packs.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Final, cast

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.services.hub import Hub, launch
from storage.catalogue.indexing import find_study_locked
from storage.catalogue.tables import Pack, PreparedMetadata, Study
from storage.dicomweb.corrections import Corrections, find_corrections
from storage.dicomweb.headers import read_headers
from storage.dicomweb.prepared import Prepared, write_prepared

PREPARE_JOB: Final = "studies.prepare_metadata"
INSTANCES_MAX: Final = 20_000  # what a job is given the time for; a larger study is read from its packs
AFTER: Final = timedelta(seconds=2)
IN_MEMORY_BYTES_MAX: Final = 16 * 1024 * 1024

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A study as it was when it was looked at."""

    site_id: str
    study_uid: str
    revision: int
    instance_count: int
    headers_keys: tuple[str, ...]
    corrections: Corrections

    @property
    def object_key(self) -> str:
        name = f"{self.revision}-{self.instance_count}.json.gz"
        return f"studies/{self.site_id}/{self.study_uid}/metadata/{name}"

    def is_still(self, study: Study | None) -> bool:
        """Return whether the study is as it was."""
        known = (self.revision, self.instance_count)
        return study is not None and (study.revision, study.instance_count) == known


def ask(session: Session, study: Study, now: datetime) -> None:
    """Have the headers prepared soon after the transaction commits; the study's row is locked.

    Not at once: its case is to be offered first, and until then the headers are read from the packs.
    """
    study.metadata_due_at = now + AFTER
    launch(session, now, PREPARE_JOB, due_at=study.metadata_due_at, study_id=study.study_id)


def prepare(hub: Hub, study_id: str) -> None:
    """Write the object and say where it is; harmless when nobody asks for it any more.

    A study that changes meanwhile is left to the next launch.

    Raises:
        StoreUnavailable, ObjectMissing: run it again later.
    """
    wanted = _look_up(hub, study_id)
    if wanted is None:
        return
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES_MAX) as spool:
        made = cast("BinaryIO", spool)
        prepared = write_prepared(wanted.corrections.apply(read_headers(hub.objects, wanted.headers_keys)), made)
        made.seek(0)
        hub.objects.put(wanted.object_key, made, prepared.size_bytes)
    replaced = _announce(hub, study_id, wanted, prepared)
    if replaced is not None:
        hub.objects.erase(replaced)


def _look_up(hub: Hub, study_id: str) -> _Wanted | None:
    """Return what is to be prepared; None when nothing is."""
    with hub.transaction() as session:
        study = session.get(Study, study_id)
        if study is None or study.metadata_due_at is None:
            return None
        keys = select(Pack.headers_key).where(Pack.study_id == study_id).order_by(Pack.headers_key)
        headers_keys = tuple(session.scalars(keys))
        if not 0 < study.instance_count <= INSTANCES_MAX or not headers_keys:
            study.metadata_due_at = None
            return None
        corrections = find_corrections(session, study)
        return _Wanted(study.site_id, study.study_uid, study.revision, study.instance_count, headers_keys, corrections)


def _announce(hub: Hub, study_id: str, wanted: _Wanted, prepared: Prepared) -> str | None:
    """Point to the new object, and return the key of one that is not needed any more."""
    with hub.transaction() as session:
        study = find_study_locked(session, wanted.site_id, wanted.study_uid)
        row = session.get(PreparedMetadata, study_id)
        before = row.object_key if row is not None else None
        if study is None or not wanted.is_still(study):
            _log.info("study_changed_while_prepared", study_id=study_id)
            return wanted.object_key if before != wanted.object_key else None
        session.merge(
            PreparedMetadata(
                study_id=study_id,
                revision=wanted.revision,
                instance_count=wanted.instance_count,
                object_key=wanted.object_key,
                size_bytes=prepared.size_bytes,
                json_bytes=prepared.json_bytes,
                series={series_uid: asdict(stretch) for series_uid, stretch in prepared.series.items()},
                prepared_at=hub.clock(),
            )
        )
        study.metadata_due_at = None
    return before if before != wanted.object_key else None
