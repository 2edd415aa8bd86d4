"""A study that was joined to a case has one of its own again: what two cases were joined by mistake, or by an order.

Durable: the study becomes that of a new case, with the lane of the one it leaves, and its ledger says so; nothing joins
it by itself again. Only as long as nobody has claimed the case.
"""

from __future__ import annotations

from sqlalchemy import update

from reading_queue.db.tables import Case, CaseStudy
from reading_queue.errors import NotFound, WrongState
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.case_facts import copy_facts, list_studies
from reading_queue.services.cases.cases import make_ready, new_case
from reading_queue.services.cases.casework import PROCEDURE_RECORD, audit, get_case_locked, record_custody, study_uids
from reading_queue.services.cases.holds import AT_THE_SITE, parse_words
from reading_queue.services.cases.joining import UNCLAIMED, ask_anew, take_doubts
from reading_queue.services.hub import Hub
from reading_queue.services.orders.orders import match_study
from reading_queue.services.orders.study_orders import lock_orders_of
from reading_queue.services.patients.identity_doubts import check_identity
from storage.contract.hops import Hop
from storage.contract.lanes import Lane


def separate_study(hub: Hub, viewer: Viewer, case_id: str, study_uid: str, reason: str) -> str:
    """Have the study read alone, as a case of its own; return that case.

    Raises:
        NotFound: there is no such case, the viewer may not see it, or it does not read the study.
        WrongState: somebody has claimed it, or it is the only study of its case. Invalid: no reason is given.
    """
    now = hub.clock()
    require(viewer, *AT_THE_SITE)
    words = parse_words(reason, "say in a few words why this is read alone")
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        lock_orders_of(session, session.get_one(Case, case_id).site_id)  # before the case, as where orders come
        case = get_case_locked(session, case_id)
        studies = {study.study_uid: study for study in list_studies(session, case_id)}
        if study_uid not in studies:
            raise NotFound("this case does not read this study")
        if case.state not in UNCLAIMED or case.claimed_at is not None:
            raise WrongState("somebody has claimed this case; its studies stay together")
        if len(study_uids(session, case_id)) == 1:
            raise WrongState("it is the only study of its case")
        study = studies[study_uid]
        alone = new_case(session, hub, case.site_id, Lane(case.lane), (study.first_received_at, now), now)
        alone.green_channel = case.green_channel
        of_study = CaseStudy.case_id == case_id, CaseStudy.study_uid == study_uid
        session.execute(update(CaseStudy).where(*of_study).values(case_id=alone.case_id))
        take_doubts(session, case, alone, [study_uid])
        for one in (case, alone):
            copy_facts(session, hub, one, now)
        detail = {"from_case_id": case_id}
        key = f"separated:{case_id}:{alone.case_id}"
        record_custody(
            session, alone, Hop.SEPARATED, key, now, actor=viewer.account_id, uids=[study_uid], detail=detail
        )
        match_study(session, hub, alone, study, now)
        make_ready(session, alone, now)
        check_identity(session, alone, now)
        check_identity(session, case, now)
        ask_anew(session, case, now)
        about = {"event": "study_separated", "new_case_id": alone.case_id, "reason": words}
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, **about)
        return alone.case_id
