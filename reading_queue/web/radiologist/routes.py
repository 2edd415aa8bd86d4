"""The addresses of the radiologist's desk, below /radiologist. Reading tasks are acted on below their case."""

from __future__ import annotations

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.web.access import for_roles
from reading_queue.web.radiologist import actions, course, escalations, evidence, mdt, presence, views

TASK = "/cases/{case_id}/tasks/{reading_task_id}"

ROUTES = (
    web.get("/", for_roles(views.desk, Role.PHYSICIAN), name="radiologist.desk"),
    web.post("/", for_roles(views.search, Role.PHYSICIAN), name="radiologist.search"),
    web.post("/away", for_roles(presence.go_away, Role.PHYSICIAN), name="radiologist.go_away"),
    web.post("/back", for_roles(presence.come_back, Role.PHYSICIAN), name="radiologist.come_back"),
    web.get("/escalations", for_roles(escalations.show, Role.PHYSICIAN), name="radiologist.escalations"),
    web.post(
        "/escalations/{escalation_id}",
        for_roles(escalations.acknowledge, Role.PHYSICIAN),
        name="radiologist.acknowledge_escalation",
    ),
    web.get("/mdt", for_roles(mdt.show, Role.PHYSICIAN), name="radiologist.mdt"),
    web.post("/mdt/{mdt_id}", for_roles(mdt.note, Role.PHYSICIAN), name="radiologist.mdt_outcome"),
    web.post("/cases/{case_id}/mdt", for_roles(mdt.put, Role.PHYSICIAN), name="radiologist.put_on_mdt"),
    web.get("/why-not", for_roles(views.why_not, Role.PHYSICIAN), name="radiologist.why_not"),
    web.post("/why-not", for_roles(views.why_not, Role.PHYSICIAN), name="radiologist.why_not_of"),
    web.get("/cases/{case_id}", for_roles(views.case, Role.PHYSICIAN), name="radiologist.case"),
    web.get("/cases/{case_id}/changes", for_roles(views.changes_part, Role.PHYSICIAN), name="radiologist.changes"),
    web.get("/cases/{case_id}/evidence", for_roles(evidence.part, Role.PHYSICIAN), name="radiologist.evidence"),
    web.post(f"{TASK}/evidence/remove", for_roles(evidence.remove, Role.PHYSICIAN), name="radiologist.remove_evidence"),
    web.post(f"{TASK}/claim", for_roles(actions.claim, Role.PHYSICIAN), name="radiologist.claim"),
    web.post(f"{TASK}/decline", for_roles(actions.decline, Role.PHYSICIAN), name="radiologist.decline"),
    web.post(f"{TASK}/heartbeat", for_roles(actions.heartbeat, Role.PHYSICIAN), name="radiologist.heartbeat"),
    web.post(f"{TASK}/draft", for_roles(actions.save_draft, Role.PHYSICIAN), name="radiologist.draft"),
    web.post(f"{TASK}/images", for_roles(actions.acknowledge_images, Role.PHYSICIAN), name="radiologist.images"),
    web.post(f"{TASK}/orders", for_roles(actions.acknowledge_orders, Role.PHYSICIAN), name="radiologist.orders"),
    web.post(f"{TASK}/submit", for_roles(actions.submit, Role.PHYSICIAN), name="radiologist.submit"),
    web.post(f"{TASK}/sign", for_roles(actions.sign, Role.PHYSICIAN), name="radiologist.sign"),
    web.post(f"{TASK}/sign-alone", for_roles(actions.sign_alone, Role.PHYSICIAN), name="radiologist.sign_alone"),
    web.post(
        f"{TASK}/return", for_roles(actions.return_to_author, Role.PHYSICIAN), name="radiologist.return_to_author"
    ),
    web.post("/cases/{case_id}/amend", for_roles(course.amend, Role.PHYSICIAN), name="radiologist.amend"),
    web.post(f"{TASK}/consult", for_roles(course.ask_consult, Role.PHYSICIAN), name="radiologist.ask_consult"),
    web.get("/cases/{case_id}/consults", for_roles(course.consults_part, Role.PHYSICIAN), name="radiologist.consults"),
    web.post(
        "/cases/{case_id}/consults/{consult_id}",
        for_roles(course.act_on_consult, Role.PHYSICIAN),
        name="radiologist.consult",
    ),
    web.post("/cases/{case_id}/void", for_roles(course.void, Role.PHYSICIAN), name="radiologist.void"),
    web.post(f"{TASK}/hold", for_roles(course.hold, Role.PHYSICIAN), name="radiologist.hold"),
    web.post(f"{TASK}/resume", for_roles(course.resume, Role.PHYSICIAN), name="radiologist.resume"),
    web.post(f"{TASK}/withdrawal", for_roles(course.answer_withdrawal, Role.PHYSICIAN), name="radiologist.withdrawal"),
    web.post(
        f"{TASK}/return-to-site", for_roles(course.return_to_site, Role.PHYSICIAN), name="radiologist.return_to_site"
    ),
    web.post(f"{TASK}/take-over", for_roles(course.take_over, Role.PHYSICIAN), name="radiologist.take_over"),
    web.post(
        f"{TASK}/nothing-to-amend",
        for_roles(course.nothing_to_amend, Role.PHYSICIAN),
        name="radiologist.nothing_to_amend",
    ),
    web.post(f"{TASK}/release", for_roles(actions.release, Role.PHYSICIAN), name="radiologist.release"),
)
