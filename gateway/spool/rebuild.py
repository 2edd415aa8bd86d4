"""Makes journal and spool agree at start-up, before anything else runs. The directory is the truth for instances.

Adds rows for files that the journal does not know, drops rows whose file is gone (loudly: an error in the log and a
custody event), finishes moves that were cut short, quarantines what is damaged, clears tmp and ends the associations
that the stop cut off. Harmless to repeat; a rebuild that is interrupted is finished by the next. One study is in
memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.journal.associations import close_association, open_association_ids
from gateway.journal.compression import finish_replacement, undo_replacement, unfinished_replacements
from gateway.journal.custody import add_custody
from gateway.journal.database import Journal, to_text
from gateway.journal.instances import (
    Compression,
    InstanceRow,
    add_instance,
    add_quarantine,
    drop_instance,
    find_instance,
    instances_of,
    place_instances,
)
from gateway.journal.studies import add_study
from gateway.spool import layout
from gateway.spool.inspection import UNREADABLE, Inspected, digest_file, find_compressed_digests, holds, inspect
from gateway.spool.layout import SpoolState
from gateway.spool.quarantine import QuarantineReason, read_reason
from gateway.spool.spool import Spool
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid

RECOVERED_ASSOCIATION = "recovered"  # the association of an instance whose journal row was lost

log = structlog.get_logger()

_REASONS = {
    "interrupted": "Arrived whole, but the gateway stopped before it was acknowledged",
    "foreign_file": "The spool does not make files of this name",
    "damaged": "The file is not the instance that its name says, or cannot be read",
    "size_changed": "The file's size is not the one that was journalled: the disk damaged it",
    "duplicate_file": "The instance lies in the spool twice",
}
_REMEDY = "Send the study again from the modality; ask for the disk to be checked if this comes back."


@dataclass
class RebuildReport:
    """What the start-up scan had to mend."""

    instances_added: int = 0
    instances_missing: int = 0
    instances_moved: int = 0
    quarantined: int = 0
    fragments_removed: int = 0
    associations_closed: int = 0


def rebuild(spool: Spool, journal: Journal, clock: Callable[[], datetime]) -> RebuildReport:
    """Make journal and spool agree and return what was mended."""
    scan = _Scan(spool, journal, clock)
    scan.finish_moves()
    scan.finish_replacements()
    for state, study_uid, revision, directory in _directories(spool):
        with spool.locked(study_uid):
            scan.compare_directory(state, study_uid, revision, directory)
    scan.drop_rows_without_files()
    scan.clear_tmp()
    scan.index_quarantine()
    scan.close_associations()
    log.info("spool_rebuilt", **vars(scan.report))
    return scan.report


class _Scan:
    def __init__(self, spool: Spool, journal: Journal, clock: Callable[[], datetime]) -> None:
        self._spool = spool
        self._journal = journal
        self._clock = clock
        self.report = RebuildReport()

    def finish_moves(self) -> None:
        """Undo moves to ready that never reached the journal, finish moves to sent that did.

        A confirmed transfer that the journal does not know means that the journal was lost: it is judged and declared
        once more, the hub answers that it holds it, and its keep period begins anew.
        """
        for state, study_uid, revision, directory in list(_directories(self._spool)):
            if state is SpoolState.INCOMING or revision is None:
                continue
            rows = self._journal.read(
                "SELECT state FROM transfers WHERE study_uid = ? AND revision = ?", (study_uid, revision)
            )
            if not rows and state is SpoolState.SENT and self._lies_twice(study_uid, directory):
                continue  # what lies twice is told by the comparison; the rest is taken back the next time
            if not rows:
                self._spool.move_back_to_incoming(study_uid, revision, state)
                log.warning("unknown_transfer_taken_back", study_uid=study_uid, revision=revision, state=state)
            elif state is SpoolState.READY and rows[0]["state"] == "confirmed":
                self._spool.move_to_sent(study_uid, revision)
                log.warning("move_to_sent_finished", study_uid=study_uid, revision=revision)

    def _lies_twice(self, study_uid: Uid, directory: Path) -> bool:
        arriving = layout.study_directory(self._spool.root, SpoolState.INCOMING, study_uid, None)
        return any((arriving / file.name).exists() for file in directory.iterdir())

    def finish_replacements(self) -> None:
        """Record which of the two files stands where a smaller one was about to take the received one's place."""
        for row, replacement in unfinished_replacements(self._journal):
            is_replaced = holds(self._path_of(row), replacement.size_bytes, replacement.stored_sha256)
            with self._journal.transaction() as connection:
                if is_replaced:
                    finish_replacement(connection, row, replacement)
                else:
                    undo_replacement(connection, row.sop_instance_uid)
            log.warning("replacement_settled", sop_instance_uid=row.sop_instance_uid, replaced=is_replaced)

    def compare_directory(self, state: SpoolState, study_uid: Uid, revision: int | None, directory: Path) -> None:
        """Make the rows of one directory agree with its files."""
        rows = {row.sop_instance_uid: row for row in instances_of(self._journal, study_uid, state, revision)}
        for file in sorted(directory.iterdir()):
            try:
                sop_instance_uid = layout.parse_instance_name(file.name)
            except ValueError:
                self._quarantine(file, "foreign_file", study_uid, None)
                continue
            row = rows.get(sop_instance_uid)
            if row is None:
                self._index_file(file, sop_instance_uid, state, study_uid, revision)
            elif file.stat().st_size != row.size_bytes:
                self._quarantine(file, "size_changed", study_uid, sop_instance_uid)

    def drop_rows_without_files(self) -> None:
        """Forget instances whose file is not where the journal says; their loss is told, never hidden."""
        groups = self._journal.read("SELECT DISTINCT study_uid FROM instances")
        for study_uid in (group["study_uid"] for group in groups):
            for row in instances_of(self._journal, study_uid):
                if not self._path_of(row).exists():
                    self._drop(row)

    def clear_tmp(self) -> None:
        """Quarantine whole files that nobody was told of; remove fragments, smaller forms and copies."""
        for file in (self._spool.root / layout.TMP).iterdir():
            found = None if file.suffix in (layout.SMALLER_SUFFIX, layout.COPY_SUFFIX) else _inspect_or_none(file)
            if found is not None:
                self._quarantine(file, "interrupted", found.study_uid, found.sop_instance_uid)
            else:
                self._spool.files.remove_file(file)
                self.report.fragments_removed += 1

    def index_quarantine(self) -> None:
        """Add journal rows for what lies in quarantine without one."""
        for reason_file in (self._spool.root / layout.QUARANTINE).glob(f"*{layout.REASON_SUFFIX}"):
            if reason_file.with_suffix(layout.INSTANCE_SUFFIX).exists():
                with self._journal.transaction() as connection:
                    add_quarantine(connection, reason_file.stem, read_reason(reason_file), self._clock())

    def close_associations(self) -> None:
        """End the associations that the stop cut off, with the custody events of what they brought."""
        for association_id in open_association_ids(self._journal):
            close_association(self._journal, association_id, self._clock(), cut_off=True)
            self.report.associations_closed += 1

    def _index_file(
        self, file: Path, sop_instance_uid: Uid, state: SpoolState, study_uid: Uid, revision: int | None
    ) -> None:
        """Give a file its row: the one that it has under another place, or a new one read from the file."""
        elsewhere = find_instance(self._journal, sop_instance_uid)
        if elsewhere is not None and self._path_of(elsewhere).exists():
            self._quarantine(file, "duplicate_file", study_uid, None)
            return
        if elsewhere is not None and elsewhere.study_uid == study_uid:
            with self._journal.transaction() as connection:
                place_instances(connection, [sop_instance_uid], state, revision)
            self.report.instances_moved += 1
            return
        if elsewhere is not None:
            self._drop(elsewhere)
        found = _inspect_or_none(file)
        if found is None or (found.sop_instance_uid, found.study_uid) != (sop_instance_uid, study_uid):
            self._quarantine(file, "damaged", study_uid, sop_instance_uid)
            return
        with self._journal.transaction() as connection:
            row = _row_of(file, found, state, revision)
            add_study(connection, found.header, row.received_at)
            add_instance(connection, row)
        log.warning("instance_indexed_again", sop_instance_uid=sop_instance_uid, study_uid=study_uid, state=state)
        self.report.instances_added += 1

    def _quarantine(self, file: Path, code: str, study_uid: Uid, sop_instance_uid: Uid | None) -> None:
        now = self._clock()
        reason = QuarantineReason(
            code=code,
            words=_REASONS[code],
            remedy=_REMEDY,
            at=to_text(now),
            study_uid=study_uid,
            sop_instance_uid=sop_instance_uid,
            calling_ae_title="",
        )
        quarantine_id = self._spool.quarantine(file, reason)
        with self._journal.transaction() as connection:
            add_quarantine(connection, quarantine_id, reason, now)
            if sop_instance_uid is not None and code == "size_changed":
                drop_instance(connection, sop_instance_uid)
        log.error("spool_file_quarantined", code=code, study_uid=study_uid, sop_instance_uid=sop_instance_uid)
        self.report.quarantined += 1

    def _drop(self, row: InstanceRow) -> None:
        detail = {"code": "missing", "state": row.state, "revision": row.revision}
        with self._journal.transaction() as connection:
            drop_instance(connection, row.sop_instance_uid)
            add_custody(connection, Hop.QUARANTINED, row.study_uid, self._clock(), detail, row.sop_instance_uid)
        log.error("instance_missing", study_uid=row.study_uid, sop_instance_uid=row.sop_instance_uid, **detail)
        self.report.instances_missing += 1

    def _path_of(self, row: InstanceRow) -> Path:
        return self._spool.path_of(row.sop_instance_uid, row.study_uid, row.revision, row.state)


def _directories(spool: Spool) -> Iterator[tuple[SpoolState, Uid, int | None, Path]]:
    for state in SpoolState:
        for directory in sorted((spool.root / state).iterdir()):
            try:
                study_uid, revision = layout.parse_study_directory(state, directory.name)
            except ValueError:
                log.error("foreign_directory_in_spool", state=state)
                continue
            yield state, study_uid, revision, directory


def _inspect_or_none(file: Path) -> Inspected | None:
    try:
        return inspect(file)
    except UNREADABLE:
        return None


def _row_of(file: Path, found: Inspected, state: SpoolState, revision: int | None) -> InstanceRow:
    compressed = find_compressed_digests(file)
    digests = compressed or digest_file(file)
    due = Compression.DUE if state is SpoolState.INCOMING else Compression.AS_IS
    return InstanceRow(
        sop_instance_uid=found.sop_instance_uid,
        study_uid=found.study_uid,
        series_uid=found.series_uid,
        sop_class_uid=found.sop_class_uid,
        transfer_syntax_uid=found.transfer_syntax_uid,
        received_sha256=digests.received_sha256,
        stored_sha256=digests.stored_sha256,
        pixel_sha256=compressed.pixel_sha256 if compressed else None,
        values_sha256=compressed.values_sha256 if compressed else None,
        received_transfer_syntax_uid=compressed.received_transfer_syntax_uid if compressed else None,
        size_bytes=digests.size_bytes,
        received_at=datetime.fromtimestamp(file.stat().st_mtime, UTC),
        calling_ae_title=found.source_ae_title,
        association_id=RECOVERED_ASSOCIATION,
        state=state,
        revision=revision,
        instance_number=found.header.instance_number,
        compression=Compression.COMPRESSED if compressed else due,
    )
