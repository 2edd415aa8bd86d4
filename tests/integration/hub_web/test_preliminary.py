"""The clinic sees what an emergency's author has signed before the second physician does, as preliminary."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reading_queue.services.cases import clinic
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from storage.contract.lanes import Lane
from tests.integration.hub_web.county import FIRST_SITE, OTHER_TECHNICIAN, TECHNICIAN, TEXT, VERIFIER, County
from tests.integration.hub_web.serving import Visitor

pytestmark = pytest.mark.postgres
PAGE = f"/clinic/studies/{FIRST_SITE}/1.2.3.1"


@pytest.mark.parametrize(("lane", "is_shown"), [(Lane.STAT, True), (Lane.ROUTINE, False)])
def test_an_emergency_is_shown_before_it_is_verified(
    hub: Hub, county: County, browser_of: Callable[[str], Visitor], lane: Lane, *, is_shown: bool
) -> None:
    case_id = county.arrive("1.2.3.1", lane=lane)
    county.submit(case_id)
    shown = browser_of(TECHNICIAN).get(PAGE).text
    assert ("急诊临时报告" in shown) is is_shown
    assert (TEXT.impression in shown) is is_shown


def test_the_report_takes_its_place_and_what_was_given_back_is_not_shown(hub: Hub, county: County) -> None:
    technician = county.viewer(TECHNICIAN)
    case_id = county.arrive("1.2.3.1", lane=Lane.STAT)
    county.submit(case_id)
    verifier, task_id = county.viewer(VERIFIER), county.task(case_id)
    reading.claim(hub, verifier, task_id)
    reading.return_to_author(hub, verifier, task_id, "左右写反")
    assert clinic.study_view(hub, technician, FIRST_SITE, "1.2.3.1").preliminary is None
    county.submit(case_id)
    assert clinic.study_view(hub, technician, FIRST_SITE, "1.2.3.1").preliminary is not None
    county.sign(case_id)
    view = clinic.study_view(hub, technician, FIRST_SITE, "1.2.3.1")
    assert view.preliminary is None
    assert view.report is not None


def test_programs_read_a_preliminary_report_and_say_who_was_told(
    county: County, program_of: Callable[[str], Visitor]
) -> None:
    case_id = county.arrive("1.2.3.1", lane=Lane.STAT)
    technician, stranger = program_of(TECHNICIAN), program_of(OTHER_TECHNICIAN)
    assert technician.get(f"/api/v1/cases/{case_id}/preliminary").json()["preliminary"] is None
    county.submit(case_id)
    shown = technician.get(f"/api/v1/cases/{case_id}/preliminary").json()["preliminary"]
    assert (shown["text"]["impression"], shown["seen_at"]) == (TEXT.impression, None)
    assert stranger.get(f"/api/v1/cases/{case_id}/preliminary").status == 404
    address = f"/preliminary-reports/{shown['submission_id']}/acknowledge"
    assert stranger.call("POST", address, {"told": "李医生"}).status == 404
    assert technician.call("POST", address, {"told": " "}).status == 422
    for is_first in (True, False):
        assert technician.call("POST", address, {"told": "李医生"}).json() == {"is_first": is_first}
    seen = technician.get(f"/api/v1/cases/{case_id}/preliminary").json()["preliminary"]
    assert (seen["told"], seen["seen_at"] is not None) == ("李医生", True)
