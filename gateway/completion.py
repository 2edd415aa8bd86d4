"""Watches arriving studies and hands complete ones to the forwarder.

Durable: the transfer, its manifest, the instances' places and the custody event are one journal transaction, made
after the files moved; `gateway.spool.rebuild` undoes a move whose transaction never came. Volatile: that somebody
forced a study or told its expected count; after a restart such a study waits for its quiet period.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from gateway.completeness import Because, Complete, Patience, StudyEvents, decide
from gateway.journal.custody import add_custody
from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.instances import InstanceRow, instances_of, place_instances
from gateway.spool.layout import SpoolState
from gateway.spool.spool import Spool
from storage.contract.hops import Hop
from storage.contract.identifiers import SiteId, Uid
from storage.contract.lanes import Lane
from storage.contract.manifest import INSTANCES_PER_MANIFEST_MAX, InstanceEntry, Manifest

NOT_ENROLLED_RECHECK_S = 5.0
FAILED_STUDY_RETRY_S = 30.0
LONGEST_WAIT_S = 3600.0  # the wall clock may be set while we wait

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    """`lanes` names the transfer class of each calling AE title that is not routine."""

    patience: Patience
    lanes: Mapping[str, Lane] = field(default_factory=dict)


class CompletionWatcher:
    """One thread that asks about every arriving study when it is due or when something has happened."""

    def __init__(
        self,
        spool: Spool,
        journal: Journal,
        settings: CompletionSettings,
        clock: Callable[[], datetime],
        wake_forwarder: Callable[[], None],
    ) -> None:
        self._spool = spool
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._wake_forwarder = wake_forwarder
        self._changed = threading.Condition()
        self._pending_change = False
        self._stopping = False
        self._forced: set[Uid] = set()
        self._expected: dict[Uid, int] = {}
        self._retry_at: dict[Uid, datetime] = {}
        self._waiting: frozenset[Uid] = frozenset()  # studies that this thread knows of and will ask about in time
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch; studies that arrived before are judged at once."""
        self._thread = threading.Thread(target=self._run, name="completion-watcher")
        self._thread.start()

    def stop(self) -> None:
        """Stop after the study under way."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def notice_change(self) -> None:
        """Look again now: an association has ended."""
        with self._changed:
            self._pending_change = True
            self._changed.notify_all()

    def notice_instance(self, study_uid: Uid) -> None:
        """An instance of this study has arrived; cheap when the study is being waited for already."""
        if study_uid not in self._waiting or study_uid in self._expected:
            self.notice_change()

    def force(self, study_uid: Uid) -> None:
        """Treat what has arrived of this study as all of it."""
        with self._changed:
            self._forced.add(study_uid)
        self.notice_change()

    def expect(self, study_uid: Uid, instances: int) -> None:
        """Complete this study as soon as so many of its instances wait."""
        with self._changed:
            self._expected[study_uid] = instances
        self.notice_change()

    def evaluate_all(self) -> datetime | None:
        """Judge every arriving study, hand over the complete ones; return when to look again (None: on a change)."""
        self._waiting = frozenset()
        with self._changed:
            forced, expected = frozenset(self._forced), dict(self._expected)
        arriving = arriving_studies(self._journal, forced, expected)
        if not arriving:
            return None
        site_id = _find_site_id(self._journal)
        if site_id is None:
            log.info("studies_wait_for_enrolment", studies=len(arriving))
            return self._clock() + timedelta(seconds=NOT_ENROLLED_RECHECK_S)
        dues = {study_uid: self._evaluate(site_id, study_uid, events) for study_uid, events in arriving.items()}
        waiting = {study_uid: due for study_uid, due in dues.items() if due is not None}
        self._waiting = frozenset(waiting)
        return min(waiting.values(), default=None)

    def _evaluate(self, site_id: SiteId, study_uid: Uid, events: StudyEvents) -> datetime | None:
        now = self._clock()
        retry_at = self._retry_at.get(study_uid)
        if retry_at is not None and now < retry_at:
            return retry_at
        decision = decide(events, now, self._settings.patience)
        if not isinstance(decision, Complete):
            return decision.at
        try:
            self._hand_over(site_id, study_uid, decision.because)
        except Exception:
            log.exception("study_completion_failed", study_uid=study_uid)
            self._retry_at[study_uid] = now + timedelta(seconds=FAILED_STUDY_RETRY_S)
            return self._retry_at[study_uid]
        self._retry_at.pop(study_uid, None)
        return None

    def _hand_over(self, site_id: SiteId, study_uid: Uid, because: Because) -> None:
        expected = self._expected.get(study_uid)
        with self._spool.locked(study_uid):
            rows = instances_of(self._journal, study_uid, SpoolState.INCOMING)
            for start in range(0, len(rows), INSTANCES_PER_MANIFEST_MAX):
                part = rows[start : start + INSTANCES_PER_MANIFEST_MAX]
                self._make_transfer(site_id, study_uid, part, because, expected)
        with self._changed:
            self._forced.discard(study_uid)
            self._expected.pop(study_uid, None)
        self._wake_forwarder()

    def _make_transfer(
        self, site_id: SiteId, study_uid: Uid, rows: list[InstanceRow], because: Because, expected: int | None
    ) -> None:
        revision = _next_revision(self._journal, self._spool, study_uid)
        manifest = _build_manifest(site_id, study_uid, revision, rows, because, expected, self._clock(), self._settings)
        uids = [row.sop_instance_uid for row in rows]
        self._spool.move_to_ready(study_uid, revision, uids)
        with self._journal.transaction() as connection:
            connection.execute(
                "INSERT INTO transfers (study_uid, revision, lane, manifest, state, completed_at, next_attempt_at)"
                " VALUES (?, ?, ?, ?, 'ready', ?, ?)",
                (
                    study_uid,
                    revision,
                    manifest.lane,
                    manifest.model_dump_json(),
                    to_text(manifest.completed_at),
                    to_text(manifest.completed_at),
                ),
            )
            place_instances(connection, uids, SpoolState.READY, revision)
            detail = {"because": because, "instances": len(uids), "revision": revision}
            add_custody(connection, Hop.COMPLETED, study_uid, manifest.completed_at, detail)
        log.info("study_completed", study_uid=study_uid, revision=revision, instances=len(uids), because=because)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                self._pending_change = False
            due = self._evaluate_within_border()
            with self._changed:
                self._changed.wait_for(lambda: self._pending_change or self._stopping, self._seconds_until(due))

    def _evaluate_within_border(self) -> datetime | None:
        try:
            return self.evaluate_all()
        except Exception:
            log.exception("completion_watch_failed")
            return self._clock() + timedelta(seconds=FAILED_STUDY_RETRY_S)

    def _seconds_until(self, due: datetime | None) -> float | None:
        if due is None:
            return None
        return min(max((due - self._clock()).total_seconds(), 0.0), LONGEST_WAIT_S)


def arriving_studies(journal: Journal, forced: Collection[Uid], expected: Mapping[Uid, int]) -> dict[Uid, StudyEvents]:
    """Return what has happened to each study that has instances in incoming."""
    rows = journal.read(
        "SELECT i.study_uid, count(*) AS received, max(i.received_at) AS last_received_at,"
        " count(a.association_id) > count(a.closed_at) AS association_open, max(a.closed_at) AS association_closed_at"
        " FROM instances i LEFT JOIN associations a USING (association_id)"
        " WHERE i.state = 'incoming' GROUP BY i.study_uid"
    )
    return {
        row["study_uid"]: StudyEvents(
            received=row["received"],
            last_received_at=from_text(row["last_received_at"]),
            association_open=bool(row["association_open"]),
            association_closed_at=from_text(row["association_closed_at"]) if row["association_closed_at"] else None,
            expected=expected.get(row["study_uid"]),
            forced=row["study_uid"] in forced,
        )
        for row in rows
    }


def _find_site_id(journal: Journal) -> SiteId | None:
    rows = journal.read("SELECT site_id FROM identity")
    return SiteId(rows[0]["site_id"]) if rows else None


def _next_revision(journal: Journal, spool: Spool, study_uid: Uid) -> int:
    """Return a number that neither the journal nor the spool has used for this study."""
    rows = journal.read("SELECT max(revision) AS latest FROM transfers WHERE study_uid = ?", (study_uid,))
    return max({rows[0]["latest"] or 0} | spool.revisions_of(study_uid)) + 1


def _build_manifest(
    site_id: SiteId,
    study_uid: Uid,
    revision: int,
    rows: list[InstanceRow],
    because: Because,
    expected: int | None,
    now: datetime,
    settings: CompletionSettings,
) -> Manifest:
    calling_ae_title = max(rows, key=lambda row: row.received_at).calling_ae_title
    return Manifest(
        site_id=site_id,
        study_uid=study_uid,
        revision=revision,
        lane=settings.lanes.get(calling_ae_title, Lane.ROUTINE),
        calling_ae_title=calling_ae_title,
        complete_because=because,
        expected_instances=expected,
        completed_at=now,
        instances=tuple(_entry(row) for row in rows),
    )


def _entry(row: InstanceRow) -> InstanceEntry:
    return InstanceEntry(
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        series_uid=row.series_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        received_sha256=row.received_sha256,
        stored_sha256=row.stored_sha256,
        pixel_sha256=row.pixel_sha256,
        size_bytes=row.size_bytes,
        received_at=row.received_at,
    )
