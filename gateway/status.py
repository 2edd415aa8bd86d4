"""What a technician wants to know: where each study is, what is wrong, what was refused. Reads the journal only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from gateway.journal.associations import latest_refusals
from gateway.journal.database import Journal
from gateway.journal.identity import find_identity

STUDIES_MAX: Final = 200
REFUSALS_MAX: Final = 20

WHERE: Final = {
    "arriving": "arriving from the scanner",
    "ready": "complete, waits for the hub",
    "declared": "being uploaded",
    "uploaded": "uploaded, waits for the hub's check",
    "confirmed": "safe at the hub",
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


@dataclass(frozen=True, slots=True)
class DocumentStatus:
    """One returned document, or one delivery of it."""

    document_id: str
    case_id: str
    kind: str
    target: str
    state: str
    problem: str


def read_status(journal: Journal) -> dict[str, Any]:
    """Return everything as plain values, ready for JSON."""
    identity = find_identity(journal)
    refusals = [asdict(refusal) for refusal in latest_refusals(journal, REFUSALS_MAX)]
    for refusal in refusals:
        refusal["at"] = refusal["at"].isoformat()
    return {
        "site_id": identity.site_id if identity else None,
        "gateway_id": identity.gateway_id if identity else None,
        "studies": [asdict(study) for study in [*_arriving(journal), *_transfers(journal)]],
        "documents": [asdict(document) for document in _documents(journal)],
        "quarantine": [dict(row) for row in journal.read("SELECT * FROM quarantine ORDER BY at DESC LIMIT 50")],
        "refusals": refusals,
        "custody_unreported": _count(journal, "SELECT count(*) AS n FROM custody WHERE reported = 0"),
        "receipts_unreported": _count(journal, "SELECT count(*) AS n FROM receipts WHERE reported = 0"),
    }


def problems_of(status: dict[str, Any]) -> list[str]:
    """Return one sentence for each thing somebody should look at."""
    found = [] if status["gateway_id"] else ["This gateway is not enrolled: studies are kept, none is sent."]
    found += [f"Study {one['study_uid']}: {one['problem']}" for one in status["studies"] if one["problem"]]
    found += [f"Document {one['document_id']}: {one['problem']}" for one in status["documents"] if one["problem"]]
    found += [f"Quarantine {one['quarantine_id']}: {one['reason']}" for one in status["quarantine"]]
    return found


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
        "  AND p.state <> 'planned') AS packs_uploaded"
        " FROM transfers t ORDER BY t.state = 'confirmed', t.completed_at DESC LIMIT ?",
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
