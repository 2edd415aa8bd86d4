"""A case with a question in it and a correction after it, from the scanner to the clinic's PACS, with real programs.

The reader asks, the technician answers at the gateway's own console, two physicians sign; then the author corrects the
report, and its second version comes home by the same road and names the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from storage.contract.hops import Hop
from tests.browser.pictures import chest_phantom, study_uid_of
from tests.integration.gateway_console.conftest import Browser
from tests.support.network import RunningNetwork, running_network
from tests.support.road import TEXT, sign, take_offer
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.road,
    pytest.mark.services,
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI"),  # pydicom in the scanner
]

TECHNICIAN = "tech.shuangqiao"
PATIENCE_S = 90  # on a machine that does much else
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[RunningNetwork]:
    with running_network(tmp_path) as running:
        yield running


def reports_at_pacs(network: RunningNetwork, count: int) -> list[Dataset]:
    """Return the structured reports that the clinic's PACS has, once there are so many, oldest first."""

    def found() -> list[Dataset]:
        kept = [dcmread(path, force=True) for path in network.pacs.received()]
        reports = [dataset for dataset in kept if dataset.SOPClassUID == BASIC_TEXT_SR]
        assert len(reports) == count
        return sorted(reports, key=lambda one: "PredecessorDocumentsSequence" in one)

    return eventually(found, PATIENCE_S, every_s=0.5, logs=[network.hub, network.gateway])


def answer_at_the_console(network: RunningNetwork, study_uid: str) -> None:
    someone = Browser(network.console_url)

    def is_asked() -> str:
        if "session" not in " ".join(someone.cookies):
            someone.get("/login")
            assert someone.log_in(TECHNICIAN, network.password_of(TECHNICIAN)).status == 303
        asked = re.search(r'name="request_id" value="([^"]+)"', someone.get(f"/studies/{study_uid}").text)
        assert asked is not None
        return asked[1]

    request_id = eventually(is_asked, PATIENCE_S, every_s=0.5, logs=[network.gateway])
    assert someone.post(f"/studies/{study_uid}/answer", request_id=request_id, words="昨晚八点").status == 303


def test_a_question_is_answered_at_the_console_and_a_correction_comes_home_as_the_second_version(
    network: RunningNetwork, tmp_path: Path
) -> None:
    files = chest_phantom(tmp_path)
    study_uid = study_uid_of(files[0])
    network.send(files)
    author, task = take_offer(network, study_uid, "interpretation")
    writes = network.api(author)
    case_id = next(one["case_id"] for one in writes.call("GET", "/held")["held"] if study_uid in one["study_uids"])
    writes.call("POST", f"/reading-tasks/{task}/hold", {"wants": ["history"], "question": "何时发病？"})
    answer_at_the_console(network, study_uid)
    network.wait_for(study_uid, Hop.HOLD_ENDED, within_s=PATIENCE_S)
    sign(network, author, task, "submit", TEXT)
    verifier, review = take_offer(network, study_uid, "verification")
    sign(network, verifier, review, "sign", {})
    (first,) = reports_at_pacs(network, 1)
    network.wait_for(study_uid, Hop.ACKNOWLEDGED, within_s=PATIENCE_S)
    amended = writes.call("POST", f"/cases/{case_id}/amend", {"kind": "corrected", "reason": "左右写反"})["task"]
    corrected = {**TEXT, "impression": "左肺未见明显异常。", "confirm": True}
    sign(network, author, amended["reading_task_id"], "submit", corrected)
    verifier, review = take_offer(network, study_uid, "verification")
    sign(network, verifier, review, "sign", {})
    kept, second = reports_at_pacs(network, 2)
    assert kept == first, "what came first stays as it was"
    named = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == first.SOPInstanceUID

    def is_acknowledged() -> None:
        custody = network.api("coordinator").call("GET", f"/studies/{study_uid}/custody?site_id=qinghe-t01")["custody"]
        assert [line["hop"] for line in custody].count(Hop.ACKNOWLEDGED) == 2

    eventually(is_acknowledged, PATIENCE_S, every_s=0.5, logs=[network.hub, network.gateway])
