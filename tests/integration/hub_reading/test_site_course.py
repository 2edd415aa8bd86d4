"""What readers ask of a clinic, told at its own gateway's console and answered there, over the real API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.hub import HubClient, SigningIdentity
from gateway.hub.course import CourseSync
from gateway.hub.exchange import OLD_HUB_RETRY_S
from gateway.journal.course import acts_of, find_course
from gateway.journal.database import Journal
from gateway.operations import Asker, NotPossible
from gateway.site_acts import answer_reader, resubmit_study, withdraw_study
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.information import Outcome, Wanted
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState
from reading_queue.services.access.enrolment import issue_enrolment_code
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import holds, site_returns
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from storage.contract.course import SiteAct, SiteActKind, SiteActs
from storage.contract.identifiers import Uid, new_id
from storage.contract.signing import GatewayKey
from storage.contract.wire import EnrolmentRequest
from tests.integration.hub_intake.http_server import HubServer
from tests.integration.hub_reading.test_course import held, person, questions
from tests.integration.hub_reading.world import COUNTY, SITE, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

STUDY = Uid("1.2.3")


@dataclass
class Console:
    """The clinic's gateway, as far as it speaks of cases: its journal, its client, the step of its loop."""

    hub: Hub
    journal: Journal
    client: HubClient
    clock: SteerableClock

    def sync(self) -> None:
        CourseSync(self.journal, self.client, retry_delay_max_s=1).step()

    def by(self, account_id: str) -> Asker:
        return Asker(account_id, self.clock())

    def last(self) -> tuple[str, str]:
        row = acts_of(self.journal, STUDY)[0]
        return row.state, row.code

    def request_id(self) -> str:
        course = find_course(self.journal, STUDY)
        assert course is not None
        assert course.question is not None
        return course.question.request_id


@pytest.fixture
def console(world: World, hub: Hub, hub_clock: SteerableClock, tmp_path: Path) -> Iterator[Console]:
    person(world, "li", Role.TECHNICIAN, SITE)
    key = GatewayKey.generate()
    with HubServer(hub) as server:
        stranger = HubClient(server.url, None, clock=hub.clock, connect_timeout_s=60, read_timeout_s=60)
        code = issue_enrolment_code(hub, SITE, "admin")
        enrolled = stranger.enrol(EnrolmentRequest(code=code, public_key=key.public_text(), software_version="1"))
        stranger.close()
        identity = SigningIdentity(key=key, key_id=enrolled.gateway_id, audience=enrolled.audience)
        client = HubClient(server.url, identity, clock=hub.clock, connect_timeout_s=60, read_timeout_s=60)
        yield Console(hub, Journal(tmp_path / "journal.sqlite"), client, hub_clock)
        client.close()


def test_a_question_reaches_the_console_and_its_answer_the_reader(world: World, wang: Viewer, console: Console):
    case_id, task_id = held(world, wang)
    holds.ask_site(console.hub, wang, task_id, (Wanted.HISTORY, Wanted.IMAGES), "发病时间？")
    console.sync()
    course = find_course(console.journal, STUDY)
    assert course is not None
    assert course.question is not None
    assert (course.question.wants, course.question.question, course.question.asked_by) == (
        ("history", "images"),
        "发病时间？",
        "Wang",
    )
    answer_reader(console.journal, console.by("li"), STUDY, console.request_id(), " 昨晚八点 ")
    with pytest.raises(NotPossible):
        answer_reader(console.journal, console.by("li"), STUDY, console.request_id(), "再说一次")
    console.sync()
    assert console.last() == ("done", "")
    assert find_course(console.journal, STUDY) is None, "nothing waits for the clinic any more"
    assert world.case(case_id).state == CaseState.READING
    assert questions(world, case_id) == [("发病时间？", Outcome.ANSWERED, "昨晚八点")]


def test_an_answer_that_comes_too_late_is_told_to_who_gave_it(world: World, wang: Viewer, console: Console):
    _, task_id = held(world, wang)
    holds.ask_site(console.hub, wang, task_id, (Wanted.HISTORY,), "发病时间？")
    console.sync()
    answer_reader(console.journal, console.by("li"), STUDY, console.request_id(), "昨晚八点")
    holds.resume(console.hub, wang, task_id)
    console.sync()
    assert console.last() == ("refused", "wrong_state")


def test_a_withdrawal_at_the_console_is_asked_of_the_reader_whose_refusal_comes_back(
    world: World, wang: Viewer, console: Console
):
    case_id, task_id = held(world, wang)
    withdraw_study(console.journal, console.by("li"), STUDY, "患者转院")
    console.sync()
    asked = find_course(console.journal, STUDY)
    assert asked is not None
    assert asked.withdrawal_asked
    reading.answer_withdrawal(console.hub, wang, task_id, accept=False, reason="已发现急症")
    console.sync()
    refused = find_course(console.journal, STUDY)
    assert refused is not None
    assert (refused.withdrawal_asked, refused.withdrawal_refusal) == (False, "已发现急症")
    assert world.case(case_id).state == CaseState.READING


def test_a_withdrawal_that_is_told_again_after_its_refusal_asks_nothing_anew(
    world: World, wang: Viewer, console: Console
):
    case_id, task_id = held(world, wang)
    act = SiteActs(acts=(site_act(SiteActKind.WITHDRAW, words="患者转院"),))
    console.client.report_site_acts(act)
    reading.answer_withdrawal(console.hub, wang, task_id, accept=False, reason="已发现急症")
    assert console.client.report_site_acts(act).refused == ()
    assert world.case(case_id).withdrawal_asked_at is None
    console.client.report_site_acts(SiteActs(acts=(site_act(SiteActKind.WITHDRAW, words="家属要求"),)))
    assert world.case(case_id).withdrawal_asked_at is not None, "another wish is another question"


def test_a_case_that_was_sent_back_is_submitted_again_once_however_often_it_is_told(
    world: World, wang: Viewer, console: Console
):
    case_id, _ = held(world, wang)
    quality = DiscontinuationReason.INSUFFICIENT_QUALITY
    site_returns.return_to_site(console.hub, wang, case_id, quality, "运动伪影")
    console.sync()
    returned = find_course(console.journal, STUDY)
    assert returned is not None
    assert (returned.returned_code, returned.returned_words) == (quality, "运动伪影")
    act = site_act(SiteActKind.RESUBMIT, words="无法配合，请按现有图像阅片")
    for _ in range(2):
        assert console.client.report_site_acts(SiteActs(acts=(act,))).done == (act.act_id,)
    world.run_jobs()
    assert world.case(case_id).state == CaseState.OFFERED
    console.sync()
    with pytest.raises(NotPossible):
        resubmit_study(console.journal, console.by("li"), STUDY, "再来")


def site_act(kind: SiteActKind, *, account_id: str = "li", study_uid: Uid = STUDY, **more: str) -> SiteAct:
    at = SteerableClock()()
    words = {"words": "说明"} | more
    return SiteAct(act_id=new_id(), kind=kind, study_uid=study_uid, account_id=account_id, at=at, **words)


def test_nobody_acts_through_a_gateway_but_its_own_people_on_its_own_cases(
    world: World, wang: Viewer, console: Console
):
    case_id, task_id = held(world, wang)
    request_id = holds.ask_site(console.hub, wang, task_id, (Wanted.HISTORY,), "病史？")
    person(world, "elsewhere", Role.TECHNICIAN, COUNTY)
    answer, withdraw = SiteActKind.ANSWER, SiteActKind.WITHDRAW
    acts = (
        site_act(answer, account_id="elsewhere", request_id=request_id),
        site_act(answer, account_id="forged", request_id=request_id),
        site_act(answer, account_id="wang", request_id=request_id),
        site_act(answer, request_id="forged"),
        site_act(withdraw, study_uid=Uid("1.9.9")),
    )
    told = console.client.report_site_acts(SiteActs(acts=acts))
    assert told.done == ()
    assert [one.code for one in told.refused] == [
        "not_of_this_site",
        "not_of_this_site",
        "not_of_this_site",
        "not_found",
        "not_found",
    ]
    assert world.case(case_id).state == CaseState.ON_HOLD


def test_a_hub_that_knows_nothing_of_it_is_left_alone(console: Console, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.hub.client.COURSES_PATH", "/gateway/v1/no-such-path")
    assert CourseSync(console.journal, console.client, retry_delay_max_s=1).step() == OLD_HUB_RETRY_S
