"""A second opinion up the line in the demonstration's county, by the services that the desks call."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select, update

from reading_queue.db.tables import Agreement
from reading_queue.services.reading import consults, reading
from tests.integration.hub_web.county import AUTHOR, County

HOSPITAL: Final = "linlan-diyi"  # 临澜市第一人民医院
CONSULTANT: Final = "sun.lan"
QUESTION: Final = "右肺上叶结节是否需要增强扫描？"
OPINION: Final = "建议增强扫描，并与三个月前的片子对照；如有增大，转胸外科。"


def allow_consults(county: County) -> None:
    """Let every agreement of the hospital allow to ask it for its opinion."""
    with county.hub.transaction() as session:
        agreed = Agreement.assisting_organisation_id == HOSPITAL
        services = {*session.scalars(select(Agreement.services).where(agreed).limit(1)).one(), "consultation"}
        session.execute(update(Agreement).where(agreed).values(services=sorted(services)))


def ask(county: County, case_id: str, question: str = QUESTION) -> str:
    """Claim the case as its author and ask the hospital; return the consultation's id."""
    allow_consults(county)
    task_id, author = county.task(case_id), county.viewer(AUTHOR)
    reading.claim(county.hub, author, task_id)
    return consults.ask(county.hub, author, task_id, HOSPITAL, question)


def answer(county: County, consult_id: str, opinion: str = OPINION, *, login: str = CONSULTANT) -> None:
    """Take the consultation and give the opinion."""
    consultant = county.viewer(login)
    consults.accept(county.hub, consultant, consult_id)
    consults.answer(county.hub, consultant, consult_id, opinion)
