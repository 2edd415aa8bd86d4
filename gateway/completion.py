"""Watches arriving studies and hands complete ones to the forwarder.

Durable: the transfer, its manifest, the instances' places and the custody event are one journal transaction, made
after the files moved; `gateway.spool.rebuild` undoes a move whose transaction never came. That somebody forced a study
or told its expected count stands in the journal until the study is handed over. Volatile: when to look again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from gateway.completeness import Complete, Patience, StudyEvents, decide
from gateway.journal.compression import leave_study_as_is
from gateway.journal.controls import StudyControl, controls_of_arriving, find_control, set_expected, set_forced
from gateway.journal.custody import add_custody
from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.instances import InstanceRow, instances_of, place_instances
from gateway.journal.priors import find_prior_lane
from gateway.lanes import LaneRules, Requested, nothing_requested
from gateway.spool.layout import SpoolState
from gateway.spool.spool import Spool
from gateway.stored_digests import set_damaged_aside, take_stored_digests
from storage.contract.hops import Hop
from storage.contract.identifiers import SiteId, Uid
from storage.contract.lanes import Lane
from storage.contract.manifest import INSTANCES_PER_MANIFEST_MAX, Because, InstanceEntry, Manifest

NOT_ENROLLED_RECHECK_S = 5.0
FAILED_STUDY_RETRY_S = 30.0
COMPRESSION_RECHECK_S = 5.0  # the compressor tells when it is done; this is for what it could not tell
COMPRESSION_WAIT_MAX_S = 900.0
NOT_IN_TIME = "was not compressed when its study was handed over"
NEVER_ENDS_AFTER = 3  # steps of a device that stayed open, one after the other
LONGEST_WAIT_S = 3600.0  # the wall clock may be set while we wait

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    """`lanes` names the lane of each calling AE title that is not routine; `requested` looks for a study's request."""

    patience: Patience
    lanes: Mapping[str, Lane] = field(default_factory=dict)
    requested: Callable[[Journal, Uid], Requested] = nothing_requested

    def rules(self) -> LaneRules:
        """Return what decides the lane of a study."""
        return LaneRules(self.lanes, self.requested)


class CompletionWatcher:
    """One thread that asks about every arriving study when it is due or when something has happened."""

    def __init__(
        self,
        spool: Spool,
        journal: Journal,
        settings: CompletionSettings,
        clock: Callable[[], datetime],
        wake_forwarder: Callable[[], None],
        is_compressed: Callable[[Uid, str], bool] = lambda _study_uid, _lane: True,
    ) -> None:
        self._spool = spool
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._wake_forwarder = wake_forwarder
        self._is_compressed = is_compressed
        self._complete_since: dict[Uid, datetime] = {}  # studies that wait for their compression
        self._changed = threading.Condition()
        self._pending_change = False
        self._stopping = False
        self._rules = settings.rules()
        self._counted: frozenset[str] = frozenset()  # studies whose number of instances was announced
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
        """Look again now: an association or an examination has ended."""
        with self._changed:
            self._pending_change = True
            self._changed.notify_all()

    def notice_instance(self, study_uid: Uid) -> None:
        """An instance of this study has arrived; cheap when the study is being waited for already."""
        if study_uid not in self._waiting or study_uid in self._counted:
            self.notice_change()

    def force(self, study_uid: Uid) -> None:
        """Treat what has arrived of this study as all of it."""
        with self._journal.transaction() as connection:
            set_forced(connection, study_uid, forced=True)
        self.notice_change()

    def expect(self, study_uid: Uid, instances: int) -> None:
        """Complete this study as soon as so many of its instances wait."""
        with self._journal.transaction() as connection:
            set_expected(connection, study_uid, instances)
        self.notice_change()

    def evaluate_all(self) -> datetime | None:
        """Judge every arriving study, hand over the complete ones; return when to look again (None: on a change)."""
        self._waiting = frozenset()
        controls = controls_of_arriving(self._journal)
        self._counted = frozenset(uid for uid, control in controls.items() if control.expected is not None)
        forgotten_before = self._clock() - timedelta(seconds=self._settings.patience.open_step_max_s)
        arriving = arriving_studies(self._journal, controls, forgotten_before=forgotten_before)
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
        if retry_at is not None and now < retry_at <= now + timedelta(seconds=FAILED_STUDY_RETRY_S):
            return retry_at
        patience = self._settings.patience
        if events.step_began_at is not None and self._lane_of(study_uid) is Lane.STAT:
            patience = patience.for_stat()
        decision = decide(events, now, patience)
        if not isinstance(decision, Complete):
            self._complete_since.pop(study_uid, None)
            return decision.at
        if self._waits_for_compression(study_uid, now):
            return now + timedelta(seconds=COMPRESSION_RECHECK_S)
        try:
            self._hand_over(site_id, study_uid, decision.because)
        except Exception:
            log.exception("study_completion_failed", study_uid=study_uid)
            self._retry_at[study_uid] = now + timedelta(seconds=FAILED_STUDY_RETRY_S)
            return self._retry_at[study_uid]
        self._retry_at.pop(study_uid, None)
        return None

    def _waits_for_compression(self, study_uid: Uid, now: datetime) -> bool:
        """Return whether a complete study still waits to be made smaller; it waits COMPRESSION_WAIT_MAX_S at most."""
        since = self._complete_since.setdefault(study_uid, now)
        is_late = abs(now - since) >= timedelta(seconds=COMPRESSION_WAIT_MAX_S)
        if not self._is_compressed(study_uid, self._lane_of(study_uid)) and not is_late:
            return True
        self._complete_since.pop(study_uid, None)
        return False

    def _lane_of(self, study_uid: Uid) -> Lane:
        """Return the lane in which the study would travel now."""
        rows = self._journal.read(
            "SELECT calling_ae_title FROM instances WHERE study_uid = ? AND state = 'incoming'"
            " ORDER BY received_at DESC LIMIT 1",
            (study_uid,),
        )
        return self._rules.lane_of(self._journal, study_uid, rows[0]["calling_ae_title"]) if rows else Lane.ROUTINE

    def _hand_over(self, site_id: SiteId, study_uid: Uid, because: Because) -> None:
        expected = find_control(self._journal, study_uid).expected
        take_stored_digests(self._spool, self._journal, study_uid)  # most of them before anybody must wait for it
        with self._spool.locked(study_uid):
            damaged = take_stored_digests(self._spool, self._journal, study_uid)
            set_damaged_aside(self._spool, self._journal, damaged, self._clock())
            with self._journal.transaction() as connection:
                leave_study_as_is(connection, study_uid, NOT_IN_TIME)
            rows = instances_of(self._journal, study_uid, SpoolState.INCOMING)
            for start in range(0, len(rows), INSTANCES_PER_MANIFEST_MAX):
                part = rows[start : start + INSTANCES_PER_MANIFEST_MAX]
                self._make_transfer(site_id, study_uid, part, because, expected)
        with self._journal.transaction() as connection:
            set_forced(connection, study_uid, forced=False)
            set_expected(connection, study_uid, None)
        self._wake_forwarder()

    def _make_transfer(
        self, site_id: SiteId, study_uid: Uid, rows: list[InstanceRow], because: Because, expected: int | None
    ) -> None:
        revision = _next_revision(self._journal, self._spool, study_uid)
        last = max(rows, key=lambda row: row.received_at)
        prior_lane = find_prior_lane(self._journal, study_uid, {row.calling_ae_title for row in rows}, last.received_at)
        manifest = Manifest(
            site_id=site_id,
            study_uid=study_uid,
            revision=revision,
            lane=self._rules.lane_of(self._journal, study_uid, last.calling_ae_title, prior=prior_lane),
            calling_ae_title=last.calling_ae_title,
            purpose="read" if prior_lane is None else "prior",
            complete_because=because,
            expected_instances=expected,
            completed_at=self._clock(),
            instances=tuple(_entry(row) for row in rows),
        )
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
            detail: dict[str, object] = {"because": because, "instances": len(uids), "revision": revision}
            if expected is not None:
                detail["expected"] = expected
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


def arriving_studies(
    journal: Journal, controls: Mapping[str, StudyControl], *, forgotten_before: datetime
) -> dict[Uid, StudyEvents]:
    """Return what has happened to each study that has instances in incoming.

    A step counts as open unless its device never ends any: the latest NEVER_ENDS_AFTER steps that it began before
    `forgotten_before` are all open still.
    """
    rows = journal.read(
        "SELECT i.study_uid, count(*) AS received, max(i.received_at) AS last_received_at,"
        " count(a.association_id) > count(a.closed_at) AS association_open, max(a.closed_at) AS association_closed_at,"
        " (SELECT max(p.received_at) FROM performed_steps p"
        "  WHERE p.study_uid = i.study_uid AND p.state = 'IN PROGRESS' AND ? > ("
        "   SELECT count(*) FROM (SELECT state FROM performed_steps e WHERE e.calling_ae_title = p.calling_ae_title"
        "    AND e.received_at < ? ORDER BY e.received_at DESC LIMIT ?) WHERE state = 'IN PROGRESS'"
        "  )) AS step_began_at"
        " FROM instances i LEFT JOIN associations a USING (association_id)"
        " WHERE i.state = 'incoming' GROUP BY i.study_uid",
        (NEVER_ENDS_AFTER, to_text(forgotten_before), NEVER_ENDS_AFTER),
    )
    return {
        row["study_uid"]: StudyEvents(
            received=row["received"],
            last_received_at=from_text(row["last_received_at"]),
            association_open=bool(row["association_open"]),
            association_closed_at=from_text(row["association_closed_at"]) if row["association_closed_at"] else None,
            expected=controls.get(row["study_uid"], StudyControl()).expected,
            step_began_at=from_text(row["step_began_at"]) if row["step_began_at"] else None,
            forced=controls.get(row["study_uid"], StudyControl()).forced,
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


def _entry(row: InstanceRow) -> InstanceEntry:
    return InstanceEntry(
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        series_uid=row.series_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        received_sha256=row.received_sha256,
        stored_sha256=row.stored_sha256,
        pixel_sha256=row.pixel_sha256,
        received_transfer_syntax_uid=row.received_transfer_syntax_uid,
        values_sha256=row.values_sha256,
        size_bytes=row.size_bytes,
        received_at=row.received_at,
    )
