"""Sets instances aside that cannot be sent, with the reason, so that the rest of their study goes on.

Durable: each file in quarantine before the journal forgets it; when it is cut off, the next declaration finds the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog

from gateway.forwarder.packing import TransferFiles
from gateway.journal.database import Journal
from gateway.journal.instances import add_quarantine, drop_instance
from gateway.journal.transfers import TransferKey, replace_manifest
from gateway.spool import layout
from gateway.spool.quarantine import QuarantineReason, quarantine_file
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid
from storage.contract.manifest import Manifest

log = structlog.get_logger(__name__)


class WhyQuarantined(StrEnum):
    """Why an instance that was complete cannot be sent; the value is the reason's constant code."""

    CONFLICT = "hub_holds_other_bytes"
    DAMAGED = "spool_file_damaged"


REMEDIES: Final = {
    WhyQuarantined.CONFLICT: (
        "Compare both copies at the scanner. If this one is right, send it again under a new SOP Instance UID,"
        " or ask the coordinator at the hub."
    ),
    WhyQuarantined.DAMAGED: "Send the study again from the scanner, and have the gateway's disk checked.",
}


def quarantine_instances(
    spool: Spool,
    journal: Journal,
    manifest: Manifest,
    reasons: Mapping[Uid, str],
    why: WhyQuarantined,
    now: datetime,
) -> None:
    """Quarantine these instances of a transfer, and declare the rest anew under a manifest without them."""
    key = TransferKey(manifest.study_uid, manifest.revision)
    with spool.locked(key.study_uid):
        moved = {uid: _quarantine(spool, manifest, uid, words, why, now) for uid, words in reasons.items()}
        rest = tuple(entry for entry in manifest.instances if entry.sop_instance_uid not in reasons)
        smaller = manifest.model_copy(update={"instances": rest}) if rest else None
        with journal.transaction() as connection:
            for uid, quarantined in moved.items():
                if quarantined is not None:
                    add_quarantine(connection, *quarantined, now)
                drop_instance(connection, uid)
            replace_manifest(connection, key, smaller)
    log.warning("instances_quarantined", study_uid=key.study_uid, instances=len(reasons))


def _quarantine(
    spool: Spool, manifest: Manifest, uid: Uid, words: str, why: WhyQuarantined, now: datetime
) -> tuple[str, QuarantineReason] | None:
    path = TransferFiles(spool, TransferKey(manifest.study_uid, manifest.revision)).path_of(uid)
    if not path.exists():
        return None  # set aside before the last stop
    reason = QuarantineReason(
        code=why,
        words=words,
        remedy=REMEDIES[why],
        at=now.isoformat(),
        study_uid=manifest.study_uid,
        sop_instance_uid=uid,
        calling_ae_title=manifest.calling_ae_title,
    )
    return quarantine_file(spool.files, path, spool.root / layout.QUARANTINE, reason), reason
