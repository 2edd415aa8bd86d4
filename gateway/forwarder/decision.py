"""What can be done next, for one transfer and for all of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gateway.journal.transfers import TransferKey, TransferRow
from gateway.journal.uploads import PackRow, PartName
from gateway.line.plan import Limits
from storage.contract.lanes import Lane, is_more_urgent
from storage.contract.wire import PACKS_PER_GRANT_MAX, UPLOADS_PER_GRANT_MAX


class Step(StrEnum):
    """One thing that the forwarder does for a transfer, in the order of its life."""

    DECLARE = "declare"
    DECLARE_LANE = "declare_lane"
    GRANT = "grant"  # plans packs where none wait, and asks for their addresses
    UPLOAD = "upload"
    COMMIT = "commit"
    POLL = "poll"


ASKING_STEPS: Final = frozenset(Step) - {Step.UPLOAD}  # uploads fill the line for seconds, the others only ask


@dataclass(frozen=True, slots=True)
class Work:
    """One step of one transfer, over these packs. `host` and `size_bytes` are an upload's.

    `parts` are those of large packs that it is about: to be uploaded, or to get an address.
    """

    key: TransferKey
    step: Step
    transfer_id: str = ""
    grant_id: str = ""
    pack_sha256s: tuple[str, ...] = ()
    lane: Lane = Lane.ROUTINE
    host: str = ""
    size_bytes: int = 0
    parts: tuple[PartName, ...] = ()

    @property
    def slot(self) -> tuple[TransferKey, str]:
        """Return what only one thread may work on at a time: one upload, or all else of the transfer."""
        if self.step is not Step.UPLOAD:
            return (self.key, "")
        return (self.key, ".".join([self.pack_sha256s[0], *(str(number) for _, number in self.parts)]))


@dataclass(frozen=True, slots=True)
class OnLine:
    """One upload that is under way. It `yields` while it lets a more urgent one go first."""

    lane: Lane
    host: str
    yields: bool = False


@dataclass(frozen=True, slots=True)
class LineView:
    """What decides whether one more upload may begin.

    `streams` is how many fill the line. `troubled_hosts` did not answer lately: one upload at a time tries them.
    """

    on_line: Sequence[OnLine]
    streams: int
    limits: Limits
    troubled_hosts: frozenset[str] = frozenset()

    def has_room_for(self, lane: Lane) -> bool:
        """Return whether an upload of this lane may begin; packs that it overtakes do not count."""
        if not self.limits.allow(lane) or any(is_more_urgent(one.lane, lane) for one in self.on_line):
            return False
        return sum(1 for one in self.on_line if not is_more_urgent(lane, one.lane)) < self.streams

    def avoids(self, host: str) -> bool:
        """Return whether this host is being tried already."""
        return host in self.troubled_hosts and any(one.host == host for one in self.on_line)


def next_upload(
    transfers: Sequence[TransferRow], busy: frozenset[tuple[TransferKey, str]], line: LineView, now: datetime
) -> Work | None:
    """Return the first pack that may go on the line now, in the order of `transfers`: most urgent lane first."""
    for transfer in transfers:
        if not line.has_room_for(transfer.lane):
            continue
        for pack in transfer.packs:
            if pack.state != "planned" or not _has_grant(pack, now) or line.avoids(pack.host):
                continue
            work = Work(
                transfer.key,
                Step.UPLOAD,
                transfer.transfer_id or "",
                pack.grant_id or "",
                (pack.pack_sha256,),
                transfer.lane,
                pack.host,
                pack.size_bytes,
                _parts_of([pack]),
            )
            if work.slot not in busy:
                return work
    return None


def next_question(
    transfers: Sequence[TransferRow],
    busy: frozenset[tuple[TransferKey, str]],
    resting: frozenset[TransferKey],
    now: datetime,
    *,
    packs_ahead: int,
) -> Work | None:
    """Return the first thing to ask the hub that nobody asks already, in the order of `transfers`.

    `resting`: transfers whose next poll is not due. `packs_ahead`: how many packs of one lane shall wait with their
    addresses, so that the line never waits for the hub; more would only let addresses run out.
    """
    ahead: Counter[Lane] = Counter()
    for transfer in transfers:
        ahead[transfer.lane] += sum(
            1
            for pack in transfer.packs
            if pack.state == "planned" and _has_grant(pack, now) and (transfer.key, pack.name) not in busy
        )
    for transfer in transfers:
        for work in questions_of(transfer, now, packs_wanted=packs_ahead - ahead[transfer.lane]):
            if work.slot not in busy and not (work.step is Step.POLL and transfer.key in resting):
                return work
    return None


def questions_of(transfer: TransferRow, now: datetime, *, packs_wanted: int) -> Iterator[Work]:
    """Yield what can be asked now, the most useful first: what is uploaded is committed before more is asked for."""
    if transfer.transfer_id is None or transfer.state == "ready":
        yield Work(transfer.key, Step.DECLARE)
        return
    if transfer.declared_lane is not None and transfer.declared_lane != transfer.lane:
        yield Work(transfer.key, Step.DECLARE_LANE, transfer.transfer_id, lane=transfer.lane)
    if transfer.state == "confirmed":
        return
    yield from _commits(transfer)
    ungranted = [pack for pack in transfer.packs if pack.state == "planned" and not _has_grant(pack, now)]
    if packs_wanted > 0 and (ungranted or transfer.unplanned):
        chosen = ungranted[: min(packs_wanted, UPLOADS_PER_GRANT_MAX)]
        shas = tuple(dict.fromkeys(pack.pack_sha256 for pack in chosen))
        yield Work(transfer.key, Step.GRANT, transfer.transfer_id, pack_sha256s=shas, parts=_parts_of(chosen))
    if not transfer.packs and not transfer.unplanned:
        yield Work(transfer.key, Step.POLL, transfer.transfer_id)


def _commits(transfer: TransferRow) -> Iterator[Work]:
    uploaded: dict[str, list[str]] = {}
    for pack in transfer.packs:
        if pack.state == "uploaded":
            uploaded.setdefault(pack.grant_id or "", []).append(pack.pack_sha256)
    for grant_id, shas in uploaded.items():
        yield Work(transfer.key, Step.COMMIT, transfer.transfer_id or "", grant_id, tuple(shas[:PACKS_PER_GRANT_MAX]))


def _parts_of(uploads: Sequence[PackRow]) -> tuple[PartName, ...]:
    return tuple((upload.pack_sha256, upload.part) for upload in uploads if upload.part is not None)


def _has_grant(pack: PackRow, now: datetime) -> bool:
    return pack.has_grant_until is not None and now < pack.has_grant_until
