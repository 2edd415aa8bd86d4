"""What each step of a transfer does at the edge: spool, hub, object storage, journal.

Each step ends with one journal transaction; when it is cut off before, it is done again, and
the hub takes it a second time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import BinaryIO, Final, cast

import structlog

from gateway.backoff import delay_s
from gateway.errors import InstanceNotInSpool
from gateway.forwarder.conflicts import WhyQuarantined, quarantine_instances
from gateway.forwarder.decision import Step, Work
from gateway.forwarder.packing import TransferFiles, damaged_instances, open_pack, plan_next_packs
from gateway.hub import HubClient
from gateway.journal import transfers
from gateway.journal.database import Journal
from gateway.journal.instances import place_transfer
from gateway.journal.transfers import TransferKey
from gateway.line.budget import LineBudget, MeteredBody
from gateway.line.watch import LineWatch
from gateway.spool.layout import SpoolState
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid
from storage.contract.manifest import Manifest
from storage.contract.wire import (
    CommitRequest,
    GrantAnswer,
    GrantRequest,
    PackDeclaration,
    PackRefusal,
    TransferAnswer,
    TransferState,
)
from storage.packs import MemberChanged, PackStream

log = structlog.get_logger(__name__)

PACKS_PER_PLAN_MAX: Final = 8
GRANT_USED_SHARE: Final = 0.75  # of a grant's life: what is left covers the upload under way and the commit
REFUSAL_FIRST_S: Final = 2.0
REFUSAL_MAX_S: Final = 3600.0


class Outcome(StrEnum):
    """What came of a step."""

    PROGRESS = "progress"
    WAITING = "waiting"  # the hub is still at work
    REFUSED = "refused"  # packs are planned again
    DONE = "done"


class TransferSteps:
    """Does one step at a time; used by many threads. `clock` returns the gateway's own aware UTC time."""

    def __init__(
        self,
        journal: Journal,
        spool: Spool,
        client: HubClient,
        budget: LineBudget,
        line: LineWatch,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._journal = journal
        self._spool = spool
        self._client = client
        self._budget = budget
        self._line = line
        self._clock = clock
        self._refusals: dict[tuple[TransferKey, str], int] = {}
        self._steps: dict[Step, Callable[[Work], Outcome]] = {
            Step.DECLARE: self._declare,
            Step.DECLARE_LANE: self._declare_lane,
            Step.GRANT: self._grant,
            Step.UPLOAD: self._upload,
            Step.COMMIT: self._commit,
            Step.POLL: self._poll,
        }

    def run(self, work: Work) -> Outcome:
        """Do the step; raises HubError, InstanceNotInSpool, OSError or UploadAborted."""
        try:
            return self._steps[work.step](work)
        except (MemberChanged, InstanceNotInSpool):
            manifest = transfers.load_manifest(self._journal, work.key)
            if not self._set_damaged_aside(
                work.key, manifest, [entry.sop_instance_uid for entry in manifest.instances]
            ):
                raise
            return Outcome.PROGRESS

    def postpone(self, key: TransferKey, wait_s: float) -> None:
        """Look at the transfer again only after `wait_s`."""
        transfers.postpone(self._journal, key, self._clock() + timedelta(seconds=wait_s))

    def _declare(self, work: Work) -> Outcome:
        manifest = transfers.load_manifest(self._journal, work.key)
        answer = self._client.declare(manifest)
        if answer.conflicting:
            reasons = {conflict.sop_instance_uid: conflict.reason for conflict in answer.conflicting}
            quarantine_instances(self._spool, self._journal, manifest, reasons, WhyQuarantined.CONFLICT, self._clock())
            return Outcome.PROGRESS
        transfers.mark_declared(self._journal, work.key, answer.transfer_id, manifest, answer.needed, self._clock())
        log.info(
            "transfer_declared",
            study_uid=work.key.study_uid,
            revision=work.key.revision,
            lane=manifest.lane,
            needed=len(answer.needed),
        )
        return Outcome.PROGRESS

    def _declare_lane(self, work: Work) -> Outcome:
        """Tell the hub of another lane: the same manifest but for it, and so the same transfer."""
        manifest = transfers.load_manifest(self._journal, work.key)
        answer = self._client.declare(manifest)
        transfers.mark_lane_declared(self._journal, work.key, answer.transfer_id, manifest.lane)
        log.info("transfer_lane_declared", study_uid=work.key.study_uid, lane=manifest.lane)
        return Outcome.PROGRESS

    def _grant(self, work: Work) -> Outcome:
        """Ask for the addresses of planned packs; where none wait, plan the next ones first."""
        if not work.pack_sha256s:
            return self._plan_and_grant(work)
        packs = transfers.load_declarations(self._journal, work.key, work.pack_sha256s, work.parts)
        return self._ask_for_grant(work, packs)

    def _plan_and_grant(self, work: Work) -> Outcome:
        packs = self._plan(work.key)
        whole = [pack for pack in packs if not pack.parts]  # parts are asked for a few at a time, as they are uploaded
        return self._ask_for_grant(work, whole) if whole else Outcome.PROGRESS

    def _ask_for_grant(self, work: Work, packs: list[PackDeclaration]) -> Outcome:
        answer = self._client.request_grant(work.transfer_id, GrantRequest(packs=tuple(packs)))
        transfers.save_grant(self._journal, work.key, packs, answer, self._clock(), self._usable_until(answer))
        return Outcome.PROGRESS

    def _plan(self, key: TransferKey) -> list[PackDeclaration]:
        """Plan as many packs as shall wait for the line, as large as the line is fast now; return them."""
        unplanned = transfers.unplanned_instances(self._journal, key)
        streams = self._line.streams
        manifest = transfers.load_manifest(self._journal, key)
        files = TransferFiles(self._spool, key)
        count = min(streams + 1, PACKS_PER_PLAN_MAX)
        packs = plan_next_packs(manifest, unplanned, files, self._line.pack_bytes(), count, streams)
        planned = sum(len(pack.sop_instance_uids) for pack in packs)
        transfers.add_planned_packs(self._journal, key, packs, len(unplanned) - planned)
        return packs

    def _usable_until(self, answer: GrantAnswer) -> datetime:
        """Return the end of the grant by our own clock, which may be wrong: only the span is taken from the hub."""
        now = self._clock()
        span = answer.expires_at - (self._client.hub_time or now)
        return now + span * GRANT_USED_SHARE

    def _upload(self, work: Work) -> Outcome:
        pack_sha256 = work.pack_sha256s[0]
        part = work.parts[0] if work.parts else None
        granted = transfers.find_upload(self._journal, work.key, pack_sha256, part)
        if granted is None:
            return Outcome.PROGRESS
        manifest = transfers.load_manifest(self._journal, work.key)
        files = TransferFiles(self._spool, work.key)
        started = time.monotonic()
        with self._budget.upload(
            work.slot,
            work.key.study_uid,
            work.lane,
            granted.size_bytes,
            host=work.host,
            urgent_bytes=transfers.waiting_bytes(self._journal, work.lane),
            bytes_per_s=self._line.bytes_per_s,
        ) as upload:

            def let_out(stream: PackStream) -> BinaryIO:
                return cast("BinaryIO", MeteredBody(stream.read, self._budget, upload))

            number = part[1] if part else None
            log.info("pack_begun", study_uid=work.key.study_uid, pack_sha256=pack_sha256, part=number, lane=work.lane)
            members, offset_bytes = granted.sop_instance_uids, granted.offset_bytes
            with open_pack(manifest, members, files, let_out, offset_bytes) as body:
                self._client.put_pack(granted.upload, body, granted.size_bytes)
        self._line.observe_upload(granted.size_bytes, time.monotonic() - started)
        transfers.mark_pack_uploaded(self._journal, work.key, pack_sha256, self._clock(), part)
        log.info(
            "pack_uploaded",
            study_uid=work.key.study_uid,
            pack_sha256=pack_sha256,
            part=part[1] if part else None,
            size_bytes=granted.size_bytes,
        )
        return Outcome.PROGRESS

    def _commit(self, work: Work) -> Outcome:
        answer = self._client.commit(work.grant_id, CommitRequest(pack_sha256s=work.pack_sha256s))
        transfers.mark_packs_committed(self._journal, work.key, work.pack_sha256s)
        # Refusals are left to the poll: those of this commit's packs may speak of an earlier upload of theirs.
        return self._settle(work.key) if answer.state is TransferState.VERIFIED else Outcome.PROGRESS

    def _poll(self, work: Work) -> Outcome:
        answer = self._client.fetch_transfer(work.transfer_id)
        if answer.state is TransferState.VERIFIED:
            return self._settle(work.key)
        if answer.refused:
            return self._refused(work.key, answer)
        return Outcome.WAITING

    def _settle(self, key: TransferKey) -> Outcome:
        """Note that the hub holds all of it: first the files move, then the journal says so."""
        with self._spool.locked(key.study_uid):
            self._spool.move_to_sent(key.study_uid, key.revision)
            with self._journal.transaction() as connection:
                transfers.mark_confirmed(connection, key, self._clock())
                place_transfer(connection, key.study_uid, key.revision, SpoolState.SENT)
        log.info("transfer_confirmed", study_uid=key.study_uid, revision=key.revision)
        return Outcome.DONE

    def _refused(self, key: TransferKey, answer: TransferAnswer) -> Outcome:
        """Plan refused packs again; instances whose own file is damaged go to quarantine instead."""
        manifest = transfers.load_manifest(self._journal, key)
        uids = transfers.members_of(self._journal, key, [refusal.pack_sha256 for refusal in answer.refused])
        if self._set_damaged_aside(key, manifest, uids):
            return Outcome.REFUSED
        now = self._clock()
        wait_s = max(self._refusal_wait_s(key, refusal) for refusal in answer.refused)
        words = "; ".join(f"pack {refusal.pack_sha256[:12]}: {refusal.reason}" for refusal in answer.refused)
        transfers.note_refusals(
            self._journal, key, answer.refused, f"the hub refused {words}", now + timedelta(seconds=wait_s)
        )
        log.warning("packs_refused", study_uid=key.study_uid, packs=len(answer.refused))
        return Outcome.REFUSED

    def _set_damaged_aside(self, key: TransferKey, manifest: Manifest, uids: list[Uid]) -> bool:
        damaged = damaged_instances(manifest, uids, TransferFiles(self._spool, key))
        reasons = dict.fromkeys(damaged, "its file in the spool no longer has the bytes that were received")
        if reasons:
            quarantine_instances(self._spool, self._journal, manifest, reasons, WhyQuarantined.DAMAGED, self._clock())
        return bool(reasons)

    def _refusal_wait_s(self, key: TransferKey, refusal: PackRefusal) -> float:
        """Return a wait that grows with each refusal of the same pack, so that a poor line is not filled in vain."""
        count = self._refusals[(key, refusal.pack_sha256)] = self._refusals.get((key, refusal.pack_sha256), 0) + 1
        return delay_s(count - 1, timedelta(0), 1.0, first_s=REFUSAL_FIRST_S, max_s=REFUSAL_MAX_S)
