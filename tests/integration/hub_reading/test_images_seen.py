"""Nobody acknowledges or signs images that they were never shown, at whatever moment others come."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from reading_queue.domain.transitions import AMENDED, CaseState
from reading_queue.errors import Conflict, ImagesChanged, ImagesUnacknowledged, Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from storage.contract.signed_report import AmendmentKind
from tests.integration.hub_reading.test_course import signed
from tests.integration.hub_reading.world import TEXT, World

pytestmark = pytest.mark.postgres

BUSY = "110513"
ROUNDS = 6


def claimed(world: World, who: Viewer, case_id: str) -> str:
    world.run_jobs()
    return reading.claim(world.hub, who, world.open_task(case_id).reading_task_id).reading_task_id


def test_only_the_images_that_were_shown_are_acknowledged(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    task_id = claimed(world, wang, case_id)
    world.catalogue("1.2.3", revision=2, more=2)
    shown = reading.case_view(hub, wang, case_id).summary.images_version
    assert shown == world.shown(case_id)
    world.catalogue("1.2.3", revision=3, more=7)
    with pytest.raises(ImagesChanged, match="7 more images") as refused:
        reading.acknowledge_images(hub, wang, task_id, shown)
    assert refused.value.arrived_count == 7
    assert world.case(case_id).images_unacknowledged
    reading.acknowledge_images(hub, wang, task_id, world.shown(case_id))
    reading.submit(hub, wang, task_id, TEXT, images=world.shown(case_id))


@pytest.mark.parametrize("forged", ["", "1", "-1-2", "１-2", "1-2-3", "9" * 30 + "-1"])
def test_what_is_no_token_of_images_is_refused(world: World, hub: Hub, wang: Viewer, forged: str):
    task_id = claimed(world, wang, world.arrive())
    with pytest.raises(Invalid, match="images_version"):
        reading.acknowledge_images(hub, wang, task_id, forged)


Signing = Callable[[Hub, Viewer, str, str], object]
WAYS: dict[str, Signing] = {
    "submit": lambda hub, who, task, images: reading.submit(hub, who, task, TEXT, images=images),
    "sign": lambda hub, who, task, images: reading.sign(hub, who, task, None, images=images),
    "sign_alone": lambda hub, who, task, images: reading.sign_alone(hub, who, task, TEXT, declared=True, images=images),
    "nothing_to_amend": lambda hub, who, task, images: reading.nothing_to_amend(
        hub, who, task, "无变化", images=images
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_page_drawn_before_more_images_came_signs_nothing_whoever_acknowledged_them(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, way: str
):
    if way == "nothing_to_amend":
        case_id = signed(world, wang, zhao)
        who, task_id = wang, reading.open_addendum(hub, wang, case_id, AmendmentKind.CORRECTED, "左右").reading_task_id
    else:
        case_id, who = world.arrive(), wang
        if way == "sign":
            world.submit(wang, case_id)
            who = zhao
        task_id = claimed(world, who, case_id)
    drawn = world.shown(case_id)
    world.catalogue("1.2.3", revision=2, more=3)
    reading.acknowledge_images(hub, who, task_id, world.shown(case_id))  # in another window
    with pytest.raises(ImagesChanged):
        WAYS[way](hub, who, task_id, drawn)
    assert world.open_task(case_id).reading_task_id == task_id


def give_back(hub: Hub, _wang: Viewer, zhao: Viewer, world: World, case_id: str) -> None:
    reading.release(hub, zhao, claimed(world, zhao, case_id), BUSY)


def return_to_author(hub: Hub, wang: Viewer, zhao: Viewer, world: World, case_id: str) -> None:
    world.submit(wang, case_id)
    reading.return_to_author(hub, zhao, claimed(world, zhao, case_id), "请修改")


@pytest.mark.parametrize("how", [give_back, return_to_author])
def test_images_that_come_while_a_text_waits_for_its_writer_must_be_acknowledged(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, how: Callable[..., None]
):
    case_id = world.arrive()
    how(hub, wang, zhao, world, case_id)
    assert world.case(case_id).state in (CaseState.READY, CaseState.OFFERED), "nobody holds it"
    world.catalogue("1.2.3", revision=2)
    task_id = claimed(world, wang, case_id)
    with pytest.raises(ImagesUnacknowledged):
        reading.submit(hub, wang, task_id, TEXT)


@pytest.mark.parametrize("acknowledged", [True, False])
def test_images_that_arrive_at_the_moment_of_a_signature_are_never_marked_seen(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, acknowledged: bool
):
    for number in range(1, ROUNDS + 1):
        uid = f"1.2.{number}"
        case_id = world.arrive(uid)
        world.submit(wang, case_id)
        world.catalogue(uid, revision=2)
        task_id = claimed(world, zhao, case_id)
        drawn = world.shown(case_id)
        if acknowledged:
            reading.acknowledge_images(hub, zhao, task_id, drawn)
        at_once = Barrier(2)

        def arrive(uid: str = uid, at_once: Barrier = at_once) -> None:
            at_once.wait()
            world.catalogue(uid, revision=3, more=1)

        def sign(task_id: str = task_id, drawn: str = drawn, at_once: Barrier = at_once) -> bool:
            at_once.wait()
            try:
                if not acknowledged:
                    reading.acknowledge_images(hub, zhao, task_id, drawn)
                reading.sign(hub, zhao, task_id, None, images=drawn)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            arrived, is_signed = pool.submit(arrive), pool.submit(sign)
            arrived.result()
        case = world.case(case_id)
        assert case.images_unacknowledged, "whoever was first, nobody was shown the third"
        assert (case.state in AMENDED) == is_signed.result(), "its author looks again at what was signed before"
        assert is_signed.result() or case.state == CaseState.REVIEWING
