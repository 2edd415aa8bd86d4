"""What a subscriber is told of a workitem: the event reports of UPS in DICOM JSON (PS3.4 Table CC.2.4-1, PS3.18 11.13).

Pure. A report says how a workitem stands, never about whom it is; what a performer or the site wrote is left out for
those who may not follow the case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any, Final

from reading_queue.domain.workitems.content import (
    CANCELLATION_REASON,
    DISCONTINUATION_CODE,
    NETWORK_STATION,
    PROGRESS,
    STATE,
    DicomJson,
    WorkitemFacts,
    element,
    performer_item,
    procedure_step_state,
    progress_items,
    reason_item,
)

UPS_EVENT: Final = "1.2.840.10008.5.1.4.34.6.4"
EVERY_WORKITEM: Final = "1.2.840.10008.5.1.4.34.5"  # the well-known UID of a global subscription
FILTERED_WORKITEMS: Final = "1.2.840.10008.5.1.4.34.5.1"
MESSAGE_ID_MAX: Final = 65535
_AE_TITLE: Final = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?", re.ASCII)


CONTACT_URI, CONTACT_NAME = "0074100A", "0074100C"


class EventType(IntEnum):
    """Event Type ID."""

    STATE_REPORT = 1
    CANCEL_REQUESTED = 2
    PROGRESS_REPORT = 3
    SCP_STATUS_CHANGE = 4
    ASSIGNED = 5


class ScpStatus(StrEnum):
    """SCP Status (0074,1242)."""

    GOING_DOWN = "GOING DOWN"
    RESTARTED = "RESTARTED"


def is_ae_title(text: str) -> bool:
    """Return whether this is an application entity title (PS3.5 Table 6.2-1), without blanks around it."""
    return _AE_TITLE.fullmatch(text) is not None


def workitem_report(
    facts: WorkitemFacts, event_type: EventType, state: str, detail: Mapping[str, Any], *, follows: bool
) -> DicomJson:
    """Return the report of an event; `state` is that of the reading task after it, `detail` what the event keeps."""
    match event_type:
        case EventType.PROGRESS_REPORT:
            found = {PROGRESS: element("SQ", progress_items(facts))}
        case EventType.CANCEL_REQUESTED:
            found = {"00741236": element("AE", NETWORK_STATION)}  # by whom: the desks of this network
            if detail.get("reason"):
                found[DISCONTINUATION_CODE] = element("SQ", [reason_item(detail["reason"])])
            told = ((CANCELLATION_REASON, "LT", "words"), (CONTACT_URI, "UR", "uri"), (CONTACT_NAME, "LO", "name"))
            found |= {tag: element(vr, detail[name]) for tag, vr, name in told if follows and detail.get(name)}
        case EventType.ASSIGNED:
            who = [facts.holder] if facts.holder is not None else facts.offered_to
            items = [performer_item(one) for one in who]
            codes = [code for item in items for code in item["00404009"]["Value"]]
            found = {"00404025": element("SQ", []), "00404009": element("SQ", codes)}
            if len(who) == 1:
                found["00404036"] = items[0]["00404036"]
        case _:
            readiness = "INCOMPLETE" if facts.is_arriving else "READY"
            found = {"00404041": element("CS", readiness), STATE: element("CS", procedure_step_state(state))}
            if state == "canceled" and facts.cancel_reason:
                found[DISCONTINUATION_CODE] = element("SQ", [reason_item(facts.cancel_reason)])
    return _report(facts.workitem_uid, event_type, found)


def status_report(status: ScpStatus) -> DicomJson:
    """Return the report that the service ends, or is there again; subscriptions and workitems outlive it."""
    found = {"00741242": element("CS", status)}
    if status is ScpStatus.RESTARTED:
        found |= {"00741244": element("CS", "WARM START"), "00741246": element("CS", "WARM START")}
    return _report(EVERY_WORKITEM, EventType.SCP_STATUS_CHANGE, found)


def numbered(report: DicomJson, message_id: int) -> DicomJson:
    """Return the report with its Message ID."""
    return dict(sorted((report | {"00000110": element("US", message_id)}).items()))


def _report(instance_uid: str, event_type: EventType, attributes: DicomJson) -> DicomJson:
    return attributes | {
        "00000002": element("UI", UPS_EVENT),
        "00001000": element("UI", instance_uid),
        "00001002": element("US", int(event_type)),
    }
