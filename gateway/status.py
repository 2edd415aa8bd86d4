"""What a technician wants to know: where each study is, what is wrong, what was refused. Reads only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from gateway.clock import utc_now
from gateway.journal.associations import latest_refusals
from gateway.journal.commitments import read_commitments
from gateway.journal.database import JOURNAL_NAME, Journal
from gateway.journal.identity import find_identity
from gateway.journal.line import read_line
from gateway.journal.priors import TOLD_AFTER, list_problems
from gateway.journal.reader_cases import read_cases
from gateway.journal.recovery import set_aside_journals
from gateway.reader.places import Places
from gateway.settings import GatewaySettings
from gateway.spool.durable import RealFiles
from gateway.spool.room import Room, describe_room

STUDIES_MAX: Final = 200
REFUSALS_MAX: Final = 20
COMMITMENTS_MAX: Final = 50
PRIORS_MAX: Final = 50
BYTES_PER_MBIT: Final = 125_000

WHERE: Final = {
    "arriving": "arriving from the scanner",
    "ready": "complete, waits for the hub",
    "declared": "being uploaded",
    "uploaded": "uploaded, waits for the hub's check",
    "confirmed": "safe at the hub",
}
CLAIMED: Final = {
    "held": "held by a physician here",
    "withdrawing": "claim ended, copies kept",
    "withdrawn": "claim ended, copies removed",
}


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """One study, or one transfer of it."""

    study_uid: str
    revision: int | None
    lane: str
    state: str
    instances: int
    packs: int
    packs_uploaded: int
    since: str
    problem: str
    bytes_needed: int = 0  # what the hub asked for, 0 before it was asked
    bytes_uploaded: int = 0
    held: str = ""  # "paused" or "cancelled" by a person


@dataclass(frozen=True, slots=True)
class DocumentStatus:
    """One returned document, or one delivery of it."""

    document_id: str
    case_id: str
    kind: str
    target: str
    state: str
    problem: str


def read_status(journal: Journal, now: datetime | None = None) -> dict[str, Any]:
    """Return everything as plain values, ready for JSON."""
    identity = find_identity(journal)
    refusals = [asdict(refusal) for refusal in latest_refusals(journal, REFUSALS_MAX)]
    for refusal in refusals:
        refusal["at"] = refusal["at"].isoformat()
    return {
        "site_id": identity.site_id if identity else None,
        "gateway_id": identity.gateway_id if identity else None,
        "line": _line(journal),
        "studies": [asdict(study) for study in [*_arriving(journal), *_transfers(journal)]],
        "documents": [asdict(document) for document in _documents(journal)],
        "commitments": read_commitments(journal, COMMITMENTS_MAX),
        "quarantine": [dict(row) for row in journal.read("SELECT * FROM quarantine ORDER BY at DESC LIMIT 50")],
        "refusals": refusals,
        "reader_cases": read_cases(journal, STUDIES_MAX),
        "workstation_reports": [
            dict(row)
            for row in journal.read(
                "SELECT report_key, state, received_at, problem FROM reader_reports WHERE problem IS NOT NULL"
                " ORDER BY received_at DESC LIMIT 50"
            )
        ],
        "priors": list_problems(journal, TOLD_AFTER, now or utc_now(), PRIORS_MAX),
        "custody_unreported": _count(journal, "SELECT count(*) AS n FROM custody WHERE reported = 0"),
        "receipts_unreported": _count(journal, "SELECT count(*) AS n FROM receipts WHERE reported = 0"),
    }


def read_disk(settings: GatewaySettings) -> dict[str, Any]:
    """Return the room on the spool's disk, with what is to be said of it; promises are the serving process's own."""
    free = RealFiles().free_bytes(settings.spool_dir)
    room = Room(free, 0, settings.dicom.disk_floor_bytes, settings.disk.low_bytes)
    return {
        "free_bytes": free,
        "floor_bytes": room.floor_bytes,
        "state": room.state,
        "problem": describe_room(room),
        "journals_set_aside": set_aside_journals(settings.spool_dir / JOURNAL_NAME),
    }


def read_reader(settings: GatewaySettings) -> dict[str, Any]:
    """Return where claimed cases go, in words, and whether that is nowhere; all empty at a site's gateway."""
    if settings.mode != "reader":
        return {"words": "", "problem": ""}
    places = Places.of(settings)
    return {"words": places.words(), "problem": "" if places.has_any else places.words()}


def problems_of(status: dict[str, Any]) -> list[str]:
    """Return one sentence for each thing somebody should look at."""
    found = [] if status["gateway_id"] else ["This gateway is not enrolled: studies are kept, none is sent."]
    nowhere = status.get("reader", {}).get("problem")
    found += [nowhere] if nowhere else []
    disk = status.get("disk", {})
    found += [disk["problem"]] if disk.get("problem") else []
    found += [
        f"The journal was damaged and is kept as {name}: studies were read again from the disk."
        " Enrol this gateway anew, have the disk checked, then move that file away."
        for name in disk.get("journals_set_aside", ())
    ]
    found += [f"Study {one['study_uid']}: {one['problem']}" for one in status["studies"] if one["problem"]]
    found += [f"Document {one['document_id']}: {one['problem']}" for one in status["documents"] if one["problem"]]
    found += [
        f"Storage commitment {one['transaction_uid']} of {one['calling_ae_title']}: {one['problem']}"
        for one in status["commitments"]
        if one["problem"]
    ]
    found += [f"Earlier studies, request {one['request_id']}: {one['problem']}" for one in status["priors"]]
    found += [f"Quarantine {one['quarantine_id']}: {one['reason']}" for one in status["quarantine"]]
    found += [f"Claimed case {one['case_id']}: {one['problem']}" for one in status["reader_cases"] if one["problem"]]
    found += [f"Report of a workstation, {one['state']}: {one['problem']}" for one in status["workstation_reports"]]
    return found


def line_words(line: dict[str, Any]) -> str:
    """Return how the line is, in one sentence."""
    said = []
    if line["unreachable_since"]:
        said.append(f"the hub cannot be reached since {line['unreachable_since']}: {line['unreachable_because']}")
    else:
        said.append(f"the hub was last reached at {line['reached_at']}" if line["reached_at"] else "not used yet")
    if line["measured_bytes_per_s"]:
        said.append(
            f"{line['measured_bytes_per_s'] / BYTES_PER_MBIT:.2f} Mbit/s over {line['streams']} uploads at once"
        )
    if line["limit_bytes_per_s"]:
        said.append(f"limited to {line['limit_bytes_per_s'] / BYTES_PER_MBIT:.2f} Mbit/s now")
    if line["paused_at"]:
        said.append(f"all uploads are paused since {line['paused_at']}")
    return ", ".join(said)


def _line(journal: Journal) -> dict[str, Any]:
    values = asdict(read_line(journal))
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def _arriving(journal: Journal) -> list[StudyStatus]:
    rows = journal.read(
        "SELECT study_uid, count(*) AS instances, min(received_at) AS since FROM instances"
        " WHERE state = 'incoming' GROUP BY study_uid ORDER BY since DESC LIMIT ?",
        (STUDIES_MAX,),
    )
    return [
        StudyStatus(row["study_uid"], None, "", "arriving", row["instances"], 0, 0, row["since"], "") for row in rows
    ]


def _transfers(journal: Journal) -> list[StudyStatus]:
    rows = journal.read(
        "SELECT t.*, json_array_length(t.manifest, '$.instances') AS instances,"
        " (SELECT count(*) FROM packs p WHERE p.study_uid = t.study_uid AND p.revision = t.revision) AS packs,"
        " (SELECT count(*) FROM packs p WHERE p.study_uid = t.study_uid AND p.revision = t.revision"
        "  AND p.state <> 'planned') AS packs_uploaded,"
        " (SELECT coalesce(sum(size_bytes), 0) FROM packs p WHERE p.study_uid = t.study_uid"
        "  AND p.revision = t.revision AND p.state <> 'planned') AS bytes_uploaded,"
        " CASE WHEN c.cancelled_at IS NOT NULL THEN 'cancelled' WHEN c.paused_at IS NOT NULL THEN 'paused' ELSE '' END"
        " AS held"
        " FROM transfers t LEFT JOIN study_controls c USING (study_uid)"
        " ORDER BY t.state = 'confirmed', t.completed_at DESC LIMIT ?",
        (STUDIES_MAX,),
    )
    return [
        StudyStatus(
            study_uid=row["study_uid"],
            revision=row["revision"],
            lane=row["lane"],
            state=row["state"],
            instances=row["instances"],
            packs=row["packs"],
            packs_uploaded=row["packs_uploaded"],
            since=row["confirmed_at"] or row["completed_at"],
            problem=row["problem"] or "",
            bytes_needed=row["needed_bytes"],
            bytes_uploaded=min(row["bytes_uploaded"], row["needed_bytes"]),
            held=row["held"] if row["state"] != "confirmed" else "",
        )
        for row in rows
    ]


def _documents(journal: Journal) -> list[DocumentStatus]:
    rows = journal.read(
        "SELECT d.document_id, d.case_id, d.kind, coalesce(v.target, '') AS target,"
        " coalesce(v.state, d.state) AS state, coalesce(v.problem, d.problem, '') AS problem"
        " FROM documents d LEFT JOIN deliveries v USING (document_id) ORDER BY d.cursor DESC LIMIT ?",
        (STUDIES_MAX,),
    )
    return [DocumentStatus(**dict(row)) for row in rows]


def _count(journal: Journal, query: str) -> int:
    return int(journal.read(query)[0]["n"])
