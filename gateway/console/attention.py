"""What needs a person: each matter with its reason, since when, and what to do. Reads journal and disk only.

A matter goes by itself when its cause has gone. A refusal or an object in quarantine goes from the list when somebody
says that it is settled; the object itself stays where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.importing.joining import WORDS as JOIN_WORDS
from gateway.importing.joining import Joined
from gateway.journal.actions import record_action
from gateway.journal.course import ActRow, list_waiting, refused_acts
from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.hub_news import HubContact, load_contact
from gateway.journal.identity import find_identity
from gateway.journal.identity_doubts import SettlementRow, list_unsettled, refused_settlements
from gateway.journal.line import read_line
from gateway.journal.order_messages import list_messages
from gateway.journal.orders import refused_orders
from gateway.journal.preliminaries import list_preliminaries, list_taken_back
from gateway.journal.priors import TOLD_AFTER, list_problems
from gateway.journal.quarantine import SETTLED, list_quarantine
from gateway.journal.reader_cases import list_problems as list_claimed_problems
from gateway.spool import layout
from gateway.spool.quarantine import read_reason
from gateway.spool.spool import Spool
from storage.contract.hops import Hop
from storage.contract.manifest import Because

REFUSALS_OF: Final = timedelta(days=7)
GIVEN_UP_OF: Final = timedelta(days=7)
ROWS_MAX: Final = 100
CLOCK_OFFSET_MAX_S: Final = 30.0
HUB_SILENT_AFTER: Final = timedelta(seconds=60)
ATTEMPTS_BEFORE_TOLD: Final = 3  # a line that stumbles once needs nobody
ACCOUNTS_WARN_AFTER: Final = 0.7  # of the time that the hub's accounts are good without it
DISK_WARN_FACTOR: Final = 3  # times the floor below which nothing is accepted


# The kinds of matters whose subject is a study: they name its patient and lead to it.
OF_A_STUDY: Final = frozenset(
    {
        "stuck_study",
        "quarantined",
        "quarantine_waits",
        "instances_missing",
        "step_stayed_open",
        "reader_asks",
        "study_returned",
        "act_refused",
        "report_void",
        "identity_doubted",
        "identity_doubted_urgent",
        "preliminary_came",
        "preliminary_taken_back",
    }
)


@dataclass(frozen=True, slots=True)
class Matter:
    """One thing to look at. `kind` has words of its own in the catalogues; `reason` and `remedy` are the journal's.

    `subject` is an id: of a study, a document, an object in quarantine. `settles`: a person may say that it is done.
    """

    kind: str
    since: datetime | None
    subject: str = ""
    reason: str = ""
    remedy: str = ""
    who: str = ""
    count: int = 1
    settles: str = ""
    shown: Mapping[str, Any] = field(default_factory=dict)  # what its words tell beside


def list_matters(
    journal: Journal,
    spool: Spool,
    now: datetime,
    *,
    disk_floor_bytes: int,
    accounts_offline: timedelta,
    reads_nowhere: bool = False,
) -> list[Matter]:
    """Return everything that needs a person, the gateway's own health first.

    `reads_nowhere`: it is in reader mode, and neither a PACS nor a workstation is configured for claimed cases.
    """
    contact = load_contact(journal)
    return [
        *([Matter("claimed_nowhere", None)] if reads_nowhere else []),
        *_health(journal, spool, contact, now, disk_floor_bytes, accounts_offline),
        *_void(journal),
        *_preliminary(journal),
        *_asked(journal),
        *_doubted(journal),
        *_stuck_transfers(journal),
        *_given_up(journal, now),
        *_undelivered(journal),
        *_quarantined(journal, spool),
        *_refused(journal, now),
        *_imports(journal),
        *_orders(journal),
        *_order_messages(journal),
        *_refused_acts(journal),
        *_priors(journal, now),
        *_claimed(journal),
        *_workstation_reports(journal),
    ]


def _asked(journal: Journal) -> list[Matter]:
    """Return the studies whose readers wait for the clinic, and those that were sent back to it."""
    return [
        Matter("reader_asks" if one.course.question is not None else "study_returned", one.since, one.study_uid)
        for one in list_waiting(journal, ROWS_MAX)
    ]


def _preliminary(journal: Journal) -> list[Matter]:
    """Return the preliminary reports of emergencies that nobody here has seen, and those that were taken back."""
    new = [row for row in list_preliminaries(journal, ROWS_MAX) if row.waits]
    back = [
        row
        for row in list_taken_back(journal, ROWS_MAX)
        if not journal.read(
            "SELECT 1 FROM actions WHERE verb = ? AND subject = ?", (SETTLED, f"back-{row.report.submission_id}")
        )
    ]
    return [
        *(Matter("preliminary_came", row.fetched_at, row.report.study_uids[0]) for row in new),
        *(
            Matter(
                "preliminary_taken_back",
                row.ended_at,
                row.report.study_uids[0],
                settles=f"back-{row.report.submission_id}",
            )
            for row in back
        ),
    ]


def _doubted(journal: Journal) -> list[Matter]:
    """Return the studies whose order and images do not seem to be of one person, until somebody here has decided."""
    return [
        Matter("identity_doubted" if one.holds else "identity_doubted_urgent", one.found_at, one.study_uid)
        for one in list_unsettled(journal, ROWS_MAX)
    ]


def _void(journal: Journal) -> list[Matter]:
    """Return the reports that the hub has declared void, until somebody here has taken them out of the record."""
    rows = journal.read(
        "SELECT study_uid, max(at) AS at FROM hub_events WHERE hop = ?1 AND NOT EXISTS"
        " (SELECT 1 FROM actions a WHERE a.verb = ?2 AND a.subject = 'void-' || study_uid)"
        " GROUP BY study_uid ORDER BY at LIMIT ?3",
        (Hop.VOIDED, SETTLED, ROWS_MAX),
    )
    return [
        Matter("report_void", from_text(row["at"]), row["study_uid"], settles=f"void-{row['study_uid']}")
        for row in rows
    ]


def _refused_acts(journal: Journal) -> list[Matter]:
    """Return what people here did about cases and the hub did not do, until somebody has seen it."""
    settled = {row["subject"] for row in journal.read("SELECT subject FROM actions WHERE verb = ?", (SETTLED,))}
    refused: list[ActRow | SettlementRow] = [*refused_acts(journal, ROWS_MAX)]
    refused += refused_settlements(journal, ROWS_MAX)
    return [
        Matter("act_refused", row.act.at, row.act.study_uid, row.problem, settles=f"act-{row.act.act_id}")
        for row in refused
        if f"act-{row.act.act_id}" not in settled
    ]


def settle(journal: Journal, subject: str, account_id: str, now: datetime) -> None:
    """Record that a person has dealt with a matter; it leaves the list."""
    with journal.transaction() as connection:
        record_action(connection, now, account_id, SETTLED, subject)


def _health(
    journal: Journal,
    spool: Spool,
    contact: HubContact,
    now: datetime,
    disk_floor_bytes: int,
    accounts_offline: timedelta,
) -> list[Matter]:
    found: list[Matter] = []
    if find_identity(journal) is None:
        return [Matter("not_enrolled", None), *_disk(spool, disk_floor_bytes)]
    line = read_line(journal)
    if line.unreachable_since is not None and now - line.unreachable_since > HUB_SILENT_AFTER:
        found.append(Matter("hub_silent", line.unreachable_since, reason=line.unreachable_because or ""))
    if line.paused_at is not None:
        found.append(Matter("line_paused", line.paused_at))
    offset = contact.clock_offset_s
    if offset is not None and abs(offset) > CLOCK_OFFSET_MAX_S:
        found.append(Matter("clock_off", None, shown={"seconds": f"{offset:+.0f}"}))
    if contact.accounts_at is not None and now - contact.accounts_at > accounts_offline * ACCOUNTS_WARN_AFTER:
        good_until = contact.accounts_at + accounts_offline
        found.append(Matter("accounts_old", contact.accounts_at, shown={"days": max(0, (good_until - now).days)}))
    return [*found, *_disk(spool, disk_floor_bytes)]


def _disk(spool: Spool, floor_bytes: int) -> list[Matter]:
    free = spool.free_bytes()
    if free < floor_bytes:
        return [Matter("disk_full", None, shown={"free_gb": f"{free / 1e9:.1f}"})]
    return (
        [Matter("disk_low", None, shown={"free_gb": f"{free / 1e9:.1f}"})]
        if free < floor_bytes * DISK_WARN_FACTOR
        else []
    )


def _priors(journal: Journal, now: datetime) -> list[Matter]:
    """Return the newest failure alone: it is the PACS that needs somebody, not each request."""
    rows = list_problems(journal, TOLD_AFTER, now, ROWS_MAX)
    if not rows:
        return []
    first = min(from_text(str(row["heard_at"])) for row in rows)
    return [Matter("priors_fail", first, reason=str(rows[0]["problem"]), count=len(rows))]


def _claimed(journal: Journal) -> list[Matter]:
    """Return why claimed cases do not come into the hospital's PACS; a refused pack needs somebody at once."""
    return [
        Matter("claimed_fail", from_text(row["since"]), reason=row["problem"], count=row["cases"])
        for row in list_claimed_problems(journal, 1, ROWS_MAX)
    ]


def _workstation_reports(journal: Journal) -> list[Matter]:
    """Return the reports of workstations that the hub refuses: after a time without line the sender has heard AA."""
    rows = journal.read(
        "SELECT report_key, received_at, problem FROM reader_reports WHERE state = 'refused'"
        " AND NOT EXISTS (SELECT 1 FROM actions a WHERE a.verb = ? AND a.subject = report_key)"
        " ORDER BY received_at DESC LIMIT ?",
        (SETTLED, ROWS_MAX),
    )
    return [
        Matter(
            "report_refused",
            from_text(row["received_at"]),
            reason=row["problem"] or "",
            settles=row["report_key"],
        )
        for row in rows
    ]


def _stuck_transfers(journal: Journal) -> list[Matter]:
    rows = journal.read(
        "SELECT * FROM transfers t WHERE state <> 'confirmed' AND problem IS NOT NULL AND attempts >= ? AND NOT EXISTS"
        " (SELECT 1 FROM study_controls c WHERE c.study_uid = t.study_uid"
        "  AND (c.paused_at IS NOT NULL OR c.cancelled_at IS NOT NULL)) ORDER BY completed_at LIMIT ?",
        (ATTEMPTS_BEFORE_TOLD, ROWS_MAX),
    )
    return [
        Matter("stuck_study", from_text(row["completed_at"]), row["study_uid"], row["problem"], count=row["attempts"])
        for row in rows
    ]


def _given_up(journal: Journal, now: datetime) -> list[Matter]:
    """Return studies that went on without announced images, or without the scanner's word that it has finished.

    The first goes when the rest has come, the second when the scanner ends its step.
    """
    rows = journal.read(
        "SELECT t.study_uid, t.revision, t.completed_at, t.manifest ->> '$.complete_because' AS because,"
        " t.manifest ->> '$.expected_instances' AS expected,"
        " (SELECT sum(json_array_length(l.manifest, '$.instances')) FROM transfers l"
        "  WHERE l.study_uid = t.study_uid AND l.revision >= t.revision) AS count"
        " FROM transfers t WHERE t.completed_at >= ?1 AND ((because = ?2 AND count < expected)"
        "  OR (because = ?3 AND EXISTS (SELECT 1 FROM performed_steps p"
        "   WHERE p.study_uid = t.study_uid AND p.state = 'IN PROGRESS')))"
        " AND NOT EXISTS (SELECT 1 FROM actions a WHERE a.verb = ?4"
        "  AND a.subject = 'complete-' || t.study_uid || '-' || t.revision) ORDER BY t.completed_at DESC LIMIT ?5",
        (to_text(now - GIVEN_UP_OF), Because.INSTANCES_MISSING, Because.STEP_STAYED_OPEN, SETTLED, ROWS_MAX),
    )
    return [
        Matter(
            row["because"],
            from_text(row["completed_at"]),
            row["study_uid"],
            settles=f"complete-{row['study_uid']}-{row['revision']}",
            shown={"arrived": row["count"], "expected": row["expected"]},
        )
        for row in rows
    ]


def _undelivered(journal: Journal) -> list[Matter]:
    rows = journal.read(
        "SELECT v.target, v.problem, max(v.attempts) AS attempts, min(d.fetched_at) AS since, count(*) AS n"
        " FROM deliveries v JOIN documents d USING (document_id)"
        " WHERE v.state = 'due' AND v.problem IS NOT NULL AND v.attempts >= ? GROUP BY v.target, v.problem LIMIT ?",
        (ATTEMPTS_BEFORE_TOLD, ROWS_MAX),
    )
    undelivered = [
        Matter(
            "undelivered",
            from_text(row["since"]) if row["since"] else None,
            reason=row["problem"],
            who=row["target"],
            count=row["n"],
        )
        for row in rows
    ]
    unfetched = journal.read(
        "SELECT document_id, problem, attempts FROM documents WHERE state = 'announced' AND problem IS NOT NULL"
        " AND attempts >= ? ORDER BY cursor LIMIT ?",
        (ATTEMPTS_BEFORE_TOLD, ROWS_MAX),
    )
    return undelivered + [
        Matter("unfetched", None, row["document_id"], row["problem"], count=row["attempts"]) for row in unfetched
    ]


def _quarantined(journal: Journal, spool: Spool) -> list[Matter]:
    return [
        Matter(
            "quarantine_waits" if row.is_due else "quarantined",
            row.at,
            row.study_uid or "",
            (row.problem if row.is_due else row.problem or row.reason) or "",
            "" if row.is_due else remedy_of(spool, row.quarantine_id),
            settles="" if row.is_due else row.quarantine_id,
        )
        for row in list_quarantine(journal, ROWS_MAX, settled=False)
    ]


def remedy_of(spool: Spool, quarantine_id: str) -> str:
    """Return what the gateway advises about an object in quarantine, nothing where it wrote down nothing."""
    try:
        return read_reason(spool.root / layout.QUARANTINE / f"{quarantine_id}{layout.REASON_SUFFIX}").remedy
    except (OSError, ValueError, TypeError):  # the reason file is of another kind or gone; the journal has the reason
        return ""


def _refused(journal: Journal, now: datetime) -> list[Matter]:
    """Return what was refused, one matter for each device and reason; objects in quarantine are matters of their own.

    Somebody who settles one settles what came before it of the same device and reason; a later one is news.
    """
    rows = journal.read(
        "SELECT calling_ae_title, peer_address, reason, remedy, count(*) AS n, max(at) AS at, max(refusal_id) AS id"
        " FROM refusals r WHERE at >= ?1 AND r.reason NOT IN (SELECT reason FROM quarantine) AND NOT EXISTS"
        " (SELECT 1 FROM refusals s JOIN actions a ON a.subject = 'refusal-' || s.refusal_id AND a.verb = ?2"
        "  WHERE s.calling_ae_title = r.calling_ae_title AND s.peer_address = r.peer_address"
        "  AND s.reason = r.reason AND s.refusal_id >= r.refusal_id)"
        " GROUP BY calling_ae_title, peer_address, reason, remedy ORDER BY at DESC LIMIT ?3",
        (to_text(now - REFUSALS_OF), SETTLED, ROWS_MAX),
    )
    return [
        Matter(
            "refused",
            from_text(row["at"]),
            reason=row["reason"],
            remedy=row["remedy"],
            who=f"{row['calling_ae_title'] or '?'} ({row['peer_address']})",
            count=row["n"],
            settles=f"refusal-{row['id']}",
        )
        for row in rows
    ]


def _imports(journal: Journal) -> list[Matter]:
    rows = journal.read(
        "SELECT * FROM imports i WHERE state = 'failed' AND NOT EXISTS"
        " (SELECT 1 FROM actions a WHERE a.verb = ? AND a.subject = i.import_id) ORDER BY created_at DESC LIMIT ?",
        (SETTLED, ROWS_MAX),
    )
    failed = [
        Matter("import_failed", from_text(row["created_at"]), reason=row["problem"] or "", settles=row["import_id"])
        for row in rows
    ]
    apart = journal.read(
        "SELECT i.*, o.accession_number FROM imports i LEFT JOIN orders o USING (order_id) WHERE joined <> ?"
        " AND NOT EXISTS (SELECT 1 FROM actions a WHERE a.verb = ? AND a.subject = 'join-' || i.import_id)"
        " ORDER BY created_at DESC LIMIT ?",
        (Joined.JOINED, SETTLED, ROWS_MAX),
    )
    return failed + [
        Matter(
            "import_not_joined",
            from_text(row["created_at"]),
            row["order_id"],
            JOIN_WORDS[Joined(row["joined"])],
            who=row["accession_number"] or "",
            settles=f"join-{row['import_id']}",
        )
        for row in apart
    ]


def _orders(journal: Journal) -> list[Matter]:
    """Return the orders that the hub does not take; one that was cancelled here needs nobody any more."""
    return [
        Matter(
            "order_refused",
            row.order.changed_at,
            row.order.order_id,
            row.problem or "",
            who=row.order.accession_number,
        )
        for row in refused_orders(journal, ROWS_MAX)
    ]


def _order_messages(journal: Journal) -> list[Matter]:
    """Return the HIS's orders that were refused, or taken without something, until somebody has dismissed them."""
    return [
        Matter(
            "order_message_refused" if kept.state == "refused" else "order_message_part",
            kept.received_at,
            str(kept.message_id),
            kept.faults[0].words if kept.faults else "",
            who=" · ".join(filter(None, (kept.sender or kept.address, kept.control_id))),
            shown={"where": ", ".join(fault.where for fault in kept.faults)},
        )
        for kept in list_messages(journal, limit=ROWS_MAX, only_open=True)
    ]
