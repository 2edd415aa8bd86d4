"""What can be done next for a transfer. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gateway.journal.transfers import PackRow, TransferKey, TransferRow
from storage.contract.wire import PACKS_PER_GRANT_MAX


class Step(StrEnum):
    """One thing that the forwarder does for a transfer, in the order of its life."""

    DECLARE = "declare"
    GRANT = "grant"
    UPLOAD = "upload"
    COMMIT = "commit"
    POLL = "poll"


LINE_STEPS: Final = frozenset({Step.UPLOAD})  # they fill the line for seconds, the others only ask
ASKING_STEPS: Final = frozenset(Step) - LINE_STEPS


@dataclass(frozen=True, slots=True)
class Work:
    """One step of one transfer, over these packs."""

    key: TransferKey
    step: Step
    transfer_id: str = ""
    grant_id: str = ""
    pack_sha256s: tuple[str, ...] = ()

    @property
    def slot(self) -> tuple[TransferKey, str]:
        """Return what only one thread may work on at a time: a pack's upload, or all else of the transfer."""
        return (self.key, self.pack_sha256s[0] if self.step is Step.UPLOAD else "")


def possible_steps(transfer: TransferRow, now: datetime) -> Iterator[Work]:
    """Yield what can be done now, the most useful first: what is uploaded is committed before more is uploaded."""
    if transfer.transfer_id is None or transfer.state == "ready":
        yield Work(transfer.key, Step.DECLARE)
        return
    yield from _commits(transfer)
    planned = [pack for pack in transfer.packs if pack.state == "planned"]
    ungranted = [pack for pack in planned if not _has_grant(pack, now)]
    if ungranted:
        shas = tuple(pack.pack_sha256 for pack in ungranted[:PACKS_PER_GRANT_MAX])
        yield Work(transfer.key, Step.GRANT, transfer.transfer_id, pack_sha256s=shas)
    for pack in planned:
        if _has_grant(pack, now):
            yield Work(transfer.key, Step.UPLOAD, transfer.transfer_id, pack.grant_id or "", (pack.pack_sha256,))
    if all(pack.state in ("committed", "verified") for pack in transfer.packs):
        yield Work(transfer.key, Step.POLL, transfer.transfer_id)


def _commits(transfer: TransferRow) -> Iterator[Work]:
    uploaded: dict[str, list[str]] = {}
    for pack in transfer.packs:
        if pack.state == "uploaded":
            uploaded.setdefault(pack.grant_id or "", []).append(pack.pack_sha256)
    for grant_id, shas in uploaded.items():
        yield Work(transfer.key, Step.COMMIT, transfer.transfer_id or "", grant_id, tuple(shas[:PACKS_PER_GRANT_MAX]))


def _has_grant(pack: PackRow, now: datetime) -> bool:
    return pack.has_grant_until is not None and now < pack.has_grant_until


def next_work(
    transfers: Sequence[TransferRow],
    busy: frozenset[tuple[TransferKey, str]],
    steps: frozenset[Step],
    resting: frozenset[TransferKey],
    now: datetime,
) -> Work | None:
    """Return the first possible step of these kinds that nobody is at, in the order of `transfers`.

    `resting`: transfers whose next poll is not due.
    """
    for transfer in transfers:
        for work in possible_steps(transfer, now):
            if work.step not in steps or work.slot in busy:
                continue
            if work.step is Step.POLL and transfer.key in resting:
                continue
            return work
    return None
