"""The addresses of the coordinator's desk, below /coordinator."""

from __future__ import annotations

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.web.access import for_roles
from reading_queue.web.coordinator import (
    candidates,
    download,
    jobs,
    keeping,
    links,
    message_orders,
    network,
    network_files,
    order_messages,
    orders,
    people,
    presence,
    views,
)

BOTH = (Role.COORDINATOR, Role.ADMINISTRATOR)
CANDIDATES = "/cases/{case_id}/candidates"
NETWORK, ORGANISATION = "/network", "/network/organisations/{code}"
AGREEMENT, PHYSICIAN = "/network/agreements/{agreement_id}", "/network/physicians/{physician_id}"
PERSON = f"{ORGANISATION}/people/{{account_id}}"
IMPORT = "/network/import"
DEAD_JOB = "/jobs/{dead_job_id}"
MESSAGES, MESSAGE = "/order-messages", "/order-messages/{message_id}"
STUDY = "/studies/{site_id}/{study_uid}"

ROUTES = (
    web.get("/", for_roles(views.overview, *BOTH), name="coordinator.overview"),
    web.post(
        "/escalations/{escalation_id}", for_roles(views.acknowledge, *BOTH), name="coordinator.acknowledge_escalation"
    ),
    web.get("/cases/{case_id}/lateness", for_roles(candidates.lateness, *BOTH), name="coordinator.lateness"),
    web.get(CANDIDATES, for_roles(candidates.show, *BOTH), name="coordinator.candidates"),
    web.get("/cases/{case_id}/decisions", for_roles(candidates.decided, *BOTH), name="coordinator.decisions"),
    web.post(CANDIDATES, for_roles(candidates.assign, *BOTH), name="coordinator.assign"),
    web.post(
        "/cases/{case_id}/take-back", for_roles(candidates.take_back, Role.COORDINATOR), name="coordinator.take_back"
    ),
    web.post("/physicians/{physician_id}/away", for_roles(presence.go_away, *BOTH), name="coordinator.go_away"),
    web.post("/physicians/{physician_id}/back", for_roles(presence.come_back, *BOTH), name="coordinator.come_back"),
    web.get("/orders", for_roles(orders.lists, *BOTH), name="coordinator.orders"),
    web.post("/orders/{order_id}/match", for_roles(orders.match, *BOTH), name="coordinator.match_order"),
    web.get(MESSAGES, for_roles(order_messages.show_list, *BOTH), name="coordinator.order_messages"),
    web.get(MESSAGE, for_roles(order_messages.show, *BOTH), name="coordinator.order_message"),
    web.get(f"{MESSAGE}/order", for_roles(message_orders.order_form, *BOTH), name="coordinator.message_order_form"),
    web.post(f"{MESSAGE}/order", for_roles(message_orders.enter, *BOTH), name="coordinator.enter_message_order"),
    web.post(f"{MESSAGE}/retry", for_roles(order_messages.retry, *BOTH), name="coordinator.retry_order_message"),
    web.post(f"{MESSAGE}/dismiss", for_roles(order_messages.dismiss, *BOTH), name="coordinator.dismiss_order_message"),
    web.get(NETWORK, for_roles(network.show_network, *BOTH), name="coordinator.network"),
    web.post(NETWORK, for_roles(network.add_organisation, *BOTH), name="coordinator.add_organisation"),
    web.get(IMPORT, for_roles(network_files.show, Role.ADMINISTRATOR), name="coordinator.network_import"),
    web.post(IMPORT, for_roles(network_files.plan, Role.ADMINISTRATOR), name="coordinator.plan_network"),
    web.post(
        f"{IMPORT}/confirm", for_roles(network_files.confirm, Role.ADMINISTRATOR), name="coordinator.import_network"
    ),
    web.get("/network/export", for_roles(network_files.export, Role.ADMINISTRATOR), name="coordinator.network_export"),
    web.get(ORGANISATION, for_roles(network.show_organisation, *BOTH), name="coordinator.organisation"),
    web.post(ORGANISATION, for_roles(network.save_organisation, *BOTH), name="coordinator.save_organisation"),
    web.post(f"{ORGANISATION}/agreements", for_roles(network.add_agreement, *BOTH), name="coordinator.add_agreement"),
    web.post(f"{ORGANISATION}/people", for_roles(people.add_person, *BOTH), name="coordinator.add_person"),
    web.post(PERSON, for_roles(people.save_person, *BOTH), name="coordinator.save_person"),
    web.post(f"{PERSON}/end", for_roles(people.end_person, *BOTH), name="coordinator.end_person"),
    web.post(
        f"{PERSON}/password", for_roles(people.reset_password, Role.ADMINISTRATOR), name="coordinator.reset_password"
    ),
    web.post(f"{ORGANISATION}/directors", for_roles(network.save_director, *BOTH), name="coordinator.save_director"),
    web.get(f"{ORGANISATION}/duty", for_roles(network.show_duty, *BOTH), name="coordinator.duty"),
    web.get(AGREEMENT, for_roles(network.show_agreement, *BOTH), name="coordinator.agreement"),
    web.post(AGREEMENT, for_roles(network.save_agreement, *BOTH), name="coordinator.save_agreement"),
    web.post(f"{AGREEMENT}/end", for_roles(network.end_agreement, *BOTH), name="coordinator.end_agreement"),
    web.get(PHYSICIAN, for_roles(network.show_physician, *BOTH), name="coordinator.physician"),
    web.post(PHYSICIAN, for_roles(network.save_physician, *BOTH), name="coordinator.save_physician"),
    web.post(f"{PHYSICIAN}/end", for_roles(people.end_physician, *BOTH), name="coordinator.end_physician"),
    web.post(f"{PHYSICIAN}/duty", for_roles(network.save_duty, *BOTH), name="coordinator.save_duty"),
    web.get("/links", for_roles(links.links, *BOTH), name="coordinator.links"),
    web.post("/links", for_roles(links.search, *BOTH), name="coordinator.search_links"),
    web.post("/links/{link_id}", for_roles(links.decide, *BOTH), name="coordinator.decide_link"),
    web.get("/jobs", for_roles(jobs.show, Role.ADMINISTRATOR), name="coordinator.jobs"),
    web.post("/jobs/retry", for_roles(jobs.retry_all, Role.ADMINISTRATOR), name="coordinator.retry_jobs"),
    web.post(f"{DEAD_JOB}/retry", for_roles(jobs.retry, Role.ADMINISTRATOR), name="coordinator.retry_job"),
    web.post(f"{DEAD_JOB}/dismiss", for_roles(jobs.dismiss, Role.ADMINISTRATOR), name="coordinator.dismiss_job"),
    web.get("/quarantine", for_roles(keeping.show_quarantine, *BOTH), name="coordinator.quarantine"),
    web.post("/quarantine", for_roles(keeping.acknowledge, *BOTH), name="coordinator.acknowledge"),
    web.get("/stored", for_roles(keeping.show_stored, *BOTH), name="coordinator.stored"),
    web.get("/retention", for_roles(keeping.show_retention, *BOTH), name="coordinator.retention"),
    web.post("/retention/holds/{hold_id}", for_roles(keeping.release, *BOTH), name="coordinator.release"),
    web.post("/retention/requests/{request_id}", for_roles(keeping.decide, *BOTH), name="coordinator.decide_deletion"),
    web.get(STUDY, for_roles(keeping.show_study, *BOTH), name="coordinator.study"),
    web.post(f"{STUDY}/verify", for_roles(keeping.verify, *BOTH), name="coordinator.verify"),
    web.post(f"{STUDY}/hold", for_roles(keeping.hold, *BOTH), name="coordinator.hold"),
    web.post(f"{STUDY}/deletion", for_roles(keeping.request_deletion, *BOTH), name="coordinator.request_deletion"),
    web.post(f"{STUDY}/export", for_roles(download.download, *BOTH), name="coordinator.export"),
)
