"""The clinic sees what an emergency's author has signed before the second physician does, as preliminary."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reading_queue.services.cases import clinic
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from storage.contract.lanes import Lane
from tests.integration.hub_web.county import FIRST_SITE, TECHNICIAN, TEXT, VERIFIER, County
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
