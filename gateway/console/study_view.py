"""One study in full: its ledger from both ends, its series, its reports and where they went. Reads the journal only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.console.reports import ReportLine, reports_of_study
from gateway.console.studies import StudyLine
from gateway.journal.accounts import names_of
from gateway.journal.course import ActRow, acts_of, find_course
from gateway.journal.custody import custody_of
from gateway.journal.database import Journal, from_text
from gateway.journal.hub_news import hub_events_of
from gateway.journal.identity_doubts import SettlementRow, doubts_of, settlements_of
from gateway.journal.orders import OrderRow, find_for_study, find_order
from gateway.journal.preliminaries import PreliminaryRow, find_preliminary
from storage.contract.course import CaseCourse, SiteActKind
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.identity_doubts import IdentityDoubt
from storage.dicom.person_name import display_name

_ORDER: Final = {hop: number for number, hop in enumerate(Hop)}
QUARANTINED_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One event. `at_hub`: it happened there, by the hub's clock; else here, by ours."""

    hop: str
    at: datetime
    at_hub: bool
    actor_name: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """One series; `compressed` and `as_is` count its instances whose compression was decided."""

    number: int | None
    modality: str
    description: str
    body_part: str
    images: int
    size_bytes: int
    compressed: int


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study in full."""

    ledger: tuple[LedgerLine, ...]
    series: tuple[SeriesLine, ...]
    reports: tuple[ReportLine, ...]
    senders: tuple[str, ...]
    quarantined: tuple[Mapping[str, Any], ...]
    order: OrderRow | None
    order_differs: tuple[str, ...]  # facts of the patient that the hub found otherwise in the images than in the order
    images_kept: int  # the rest has left this gateway after its keep period
    course: CaseCourse | None  # what its case waits for, as the hub last said
    acts: tuple[ActRow, ...]  # what people here did about it, newest first
    preliminary: PreliminaryRow | None  # of an emergency, until its report is here
    told_by: str  # the name of who has said that they have seen it
    doubts: tuple[IdentityDoubt, ...]  # whose it is, as the hub last said, newest first
    settlements: tuple[SettlementRow, ...]  # how people here settled such doubts, newest first
    settled_by: str  # the name of who made the newest
    written_names: Mapping[str, str]  # by order in doubt: the patient's name as people write it

    @property
    def is_acting(self) -> bool:
        """Return whether something that was done here is still on its way to the hub."""
        return any(row.state == "due" and row.act.kind is not SiteActKind.ACKNOWLEDGE for row in self.acts)

    @property
    def settling(self) -> frozenset[str]:
        """Return the doubts of which a settlement is on its way to the hub."""
        return frozenset(row.act.conflict_id for row in self.settlements if row.state == "due")


def load_study(journal: Journal, line: StudyLine) -> StudyView:
    """Return what the journal knows of a study."""
    study_uid = line.study_uid
    doubts, settlements = tuple(doubts_of(journal, study_uid)), tuple(settlements_of(journal, study_uid))
    senders = journal.read(
        "SELECT DISTINCT calling_ae_title FROM instances WHERE study_uid = ? ORDER BY 1", (study_uid,)
    )
    kept = journal.read("SELECT count(*) AS n FROM instances WHERE study_uid = ?", (study_uid,))[0]["n"]
    quarantined = journal.read(
        "SELECT * FROM quarantine WHERE study_uid = ? ORDER BY at DESC LIMIT ?", (study_uid, QUARANTINED_MAX)
    )
    ledger = _ledger(journal, study_uid)
    early = find_preliminary(journal, study_uid)
    order = find_for_study(journal, Uid(study_uid))
    return StudyView(
        ledger=ledger,
        series=_series(journal, study_uid),
        reports=tuple(reports_of_study(journal, study_uid)),
        senders=tuple(row["calling_ae_title"] for row in senders),
        quarantined=tuple({**dict(row), "at": from_text(row["at"])} for row in quarantined),
        order=order,
        order_differs=_differences(ledger, order),
        images_kept=kept,
        course=find_course(journal, study_uid),
        acts=tuple(row for row in acts_of(journal, study_uid) if row.act.kind is not SiteActKind.ACKNOWLEDGE),
        preliminary=early,
        told_by=names_of(journal).get(early.told.account_id, "") if early is not None and early.told else "",
        doubts=doubts,
        settlements=settlements,
        settled_by=names_of(journal).get(settlements[0].act.account_id, "") if settlements else "",
        written_names=_written_names(journal, doubts),
    )


def _written_names(journal: Journal, doubts: Sequence[IdentityDoubt]) -> dict[str, str]:
    rows = (find_order(journal, doubt.order_id) for doubt in doubts)
    return {row.order.order_id: display_name(row.order.patient_name) for row in rows if row is not None}


def _differences(ledger: Sequence[LedgerLine], order: OrderRow | None) -> tuple[str, ...]:
    """Return what the hub said last of the study's order as it is now; what it said of another order is past."""
    if order is None:
        return ()
    told = [
        line.detail
        for line in ledger
        if line.hop == Hop.ORDER_MATCHED and line.detail.get("order_id") == order.order.order_id
    ]
    differs = told[-1].get("differs") if told else None
    return tuple(str(name) for name in differs) if isinstance(differs, list) else ()


def _ledger(journal: Journal, study_uid: str) -> tuple[LedgerLine, ...]:
    """Return both ends' events by time; the road's order settles equal times."""
    names = names_of(journal)
    ours = [
        LedgerLine(
            event.hop,
            event.at,
            at_hub=False,
            actor_name=names.get(str(event.detail.get("actor")), ""),
            detail=event.detail,
        )
        for event in custody_of(journal, Uid(study_uid))
    ]
    theirs = [
        LedgerLine(event.hop, event.at, at_hub=True, actor_name=event.actor_name, detail=event.detail)
        for event in hub_events_of(journal, study_uid)
    ]
    return tuple(sorted([*ours, *theirs], key=lambda line: (line.at, _ORDER.get(line.hop, len(_ORDER)))))  # type: ignore[call-overload]


def _series(journal: Journal, study_uid: str) -> tuple[SeriesLine, ...]:
    rows = journal.read(
        "SELECT e.number, e.modality, e.description, e.body_part, count(i.sop_instance_uid) AS images,"
        " coalesce(sum(i.size_bytes), 0) AS size_bytes, coalesce(sum(i.compression = 'compressed'), 0) AS compressed"
        " FROM series e LEFT JOIN instances i USING (series_uid) WHERE e.study_uid = ? GROUP BY e.series_uid"
        " ORDER BY e.number, e.series_uid",
        (study_uid,),
    )
    return tuple(SeriesLine(**dict(row)) for row in rows)
