"""A new catalogue repeats any history of corrections and images, and is equal to the one that lived through it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from reading_queue.errors import HubError
from reading_queue.services.corrections.amendments import (
    list_amendments,
    merge_patients,
    move_study,
    settle_identity,
    withdraw,
)
from reading_queue.services.corrections.rejecting import reject
from reading_queue.services.hub import Hub
from storage.catalogue.snapshot import take_snapshot
from storage.contract.rejection_codes import REJECTIONS
from tests.integration.hub_amending.amending import FANG, NA, QIANG, WHY, World, rebuilt_differs, study_uid
from tests.integration.hub_intake.conftest import SITE

pytestmark = pytest.mark.postgres

STEPS = 30
STUDIES = 5
OTHER_DATE = {"PatientBirthDate": "19810301"}


class History:
    """Random acts on a world; what the hub refuses is part of it."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.notes = 0
        self.slices = dict.fromkeys(range(1, STUDIES + 1), 0)
        self.made = 0

    def go_on(self) -> None:
        acts: list[Any] = [self.images, self.images, self.note, self.merge, self.move, self.settle, self.take_back]
        try:
            self.chance.choice([*acts, self.reject])()
            self.made += 1
        except HubError:
            pass

    def images(self) -> None:
        number = self.chance.randint(1, STUDIES)
        patient = (FANG, NA, QIANG)[number % 3] | self.chance.choice([{}, {}, OTHER_DATE, {"PatientName": "新^名"}])
        first = self.slices[number] + 1
        self.slices[number] += 2
        self.world.arrive(number, patient, range(first, first + 2))

    def note(self) -> None:
        number, self.notes = self.any_study(), self.notes + 1
        study = study_uid(number)
        uids = [f"{study}.9.{self.chance.randint(1, self.slices[number] + 2)}"]
        self.world.send_note(study, self.any_code(), uids, number=self.notes)

    def any_study(self) -> int:
        held = [number for number, slices in self.slices.items() if slices]
        return self.chance.choice(held or [1])

    def any_code(self) -> str:
        return self.chance.choice(list(REJECTIONS))

    def any_number(self) -> str:
        return self.chance.choice(["P-0001", "P-0002", "P-0003"])

    def merge(self) -> None:
        world = self.world
        merge_patients(world.hub, world.coordinator, SITE, self.any_number(), self.any_number(), WHY)

    def move(self) -> None:
        world = self.world
        move_study(world.hub, world.coordinator, SITE, study_uid(self.any_study()), self.any_number(), WHY)

    def settle(self) -> None:
        world, keep = self.world, self.chance.choice(["held", "new"])
        settle_identity(world.hub, world.coordinator, SITE, self.any_number(), keep, WHY)

    def reject(self) -> None:
        number = self.any_study()
        study = study_uid(number)
        uids = (f"{study}.9.{self.chance.randint(1, max(1, self.slices[number]))}",)
        world = self.world
        reject(world.hub, world.coordinator, SITE, study, self.any_code(), WHY, sop_instance_uids=uids)

    def take_back(self) -> None:
        world = self.world
        made = list_amendments(world.hub, world.coordinator, SITE)
        if made:
            withdraw(world.hub, world.coordinator, self.chance.choice(made).amendment_id, WHY)


@pytest.mark.parametrize("seed", range(6))
def test_rebuilt_catalogue_equals_the_one_that_lived_through_a_random_history(
    world: World, other: Hub, seed: int
) -> None:
    history = History(world, seed)
    for number in (1, 2, 3):
        world.arrive(number, (FANG, NA, QIANG)[number % 3], range(1, 3))
        history.slices[number] = 2
    for _ in range(STEPS):
        history.go_on()
    assert history.made > STEPS // 3
    world.settle()
    done, differing = rebuilt_differs(world.hub, other)
    assert (done.problems, differing) == ((), [])
    with world.hub.transaction() as one, other.transaction() as another:
        snapshot = take_snapshot(one)
        assert take_snapshot(another) == snapshot
    assert snapshot.counts["amendment"] > 0
    numbers = sorted((one.study_uid, one.number) for one in list_amendments(world.hub, world.coordinator, SITE))
    for uid in {study for study, _ in numbers}:
        own = [number for study, number in numbers if study == uid]
        assert own == list(range(1, len(own) + 1))
