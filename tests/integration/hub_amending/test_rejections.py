"""Rejection notes, from the site and from a person: what is hidden, what is told, and how it comes back."""

from __future__ import annotations

import io

import pydicom
import pytest
from sqlalchemy import select

from reading_queue.db.tables import Case, Offer, ReadingTask
from reading_queue.errors import Invalid, NotFound
from reading_queue.services.arrival import cataloguing
from reading_queue.services.corrections.amendments import withdraw
from reading_queue.services.corrections.rejecting import reject
from reading_queue.services.holdings import prepared_metadata
from reading_queue.services.hub import Hub
from storage.catalogue.amendment_tables import Amendment
from storage.catalogue.tables import PreparedMetadata
from storage.contract.identifiers import Uid
from tests.integration.hub_amending.amending import FANG, WHY, World, rebuilt_differs
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.jobs import run_jobs
from tests.integration.hub_intake.studies import Instance, instance_of

pytestmark = pytest.mark.postgres

QUALITY, SAFETY, WORKLIST = "113001", "113037", "113038"


def amendments_of(world: World) -> list[Amendment]:
    with world.hub.transaction() as session:
        return list(session.scalars(select(Amendment).order_by(Amendment.number)))


@pytest.mark.parametrize("code", [QUALITY, SAFETY, WORKLIST, "113039"])
def test_note_from_the_site_hides_what_it_names_and_itself(world: World, other: Hub, code: str) -> None:
    study = world.arrive(1, FANG)
    bad = f"{study}.9.1"
    note = world.send_note(study, code, [bad])
    assert world.rejections(study) == {bad: code, note: code}
    row = world.study(study)
    assert (row.instance_count, row.series_count, row.modalities) == (2, 2, ["CT"])
    [amendment] = amendments_of(world)
    assert (amendment.made_by, amendment.reason, amendment.number) == (None, "moved while scanned", 1)
    assert f"studies/{SITE}/{study}/amendments/1.json" in set(world.hub.objects.list_keys("studies/"))
    world.settle()
    done, differing = rebuilt_differs(world.hub, other)
    assert (done.problems, differing) == ((), [])


def test_images_that_come_after_their_rejection_are_never_shown(world: World, other: Hub) -> None:
    study = world.arrive(1, FANG)
    late = f"{study}.9.4"
    world.send_note(study, WORKLIST, [late])
    world.arrive(1, FANG, range(4, 6))
    assert world.rejections(study)[late] == WORKLIST
    assert world.study(study).instance_count == 4
    world.settle()
    assert rebuilt_differs(world.hub, other)[1] == []


def test_title_that_rejects_nothing_is_an_ordinary_key_object(world: World) -> None:
    study = world.arrive(1, FANG)
    world.sender.send([_titled(world, study)], study=study)
    assert world.rejections(study) == {}
    assert amendments_of(world) == []


def _titled(world: World, study: Uid) -> Instance:
    """Return a Key Object Selection "Of Interest"."""
    dataset = pydicom.dcmread(io.BytesIO(world.note(study, QUALITY, [f"{study}.9.1"]).file))
    dataset.ConceptNameCodeSequence[0].CodeValue = "113000"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return instance_of(buffer.getvalue(), dataset, world.hub.clock())


def test_graver_of_two_notes_counts_and_the_other_is_left_when_it_is_withdrawn(world: World, other: Hub) -> None:
    study = world.arrive(1, FANG)
    bad = f"{study}.9.1"
    world.send_note(study, QUALITY, [bad])
    note = world.send_note(study, SAFETY, [bad], number=2)
    assert world.rejections(study)[bad] == SAFETY
    withdraw(world.hub, world.coordinator, amendments_of(world)[1].amendment_id, WHY)
    assert world.rejections(study)[bad] == QUALITY
    assert world.rejections(study)[note] == SAFETY  # a note that counts no more is nothing to look at either
    withdraw(world.hub, world.coordinator, amendments_of(world)[0].amendment_id, WHY)
    assert bad not in world.rejections(study)
    assert world.study(study).instance_count == 3
    world.settle()
    assert rebuilt_differs(world.hub, other)[1] == []


def test_person_rejects_a_series_by_a_note_that_the_hub_makes(world: World, other: Hub) -> None:
    study = world.arrive(1, FANG, range(1, 6))
    made = reject(world.hub, world.coordinator, SITE, study, QUALITY, "arms in the field", series_uid=f"{study}.2")
    assert world.study(study).instance_count == 2
    [amendment] = amendments_of(world)
    assert (amendment.amendment_id, amendment.made_by, amendment.reason) == (made, "one", "arms in the field")
    with pytest.raises(NotFound):
        reject(world.hub, world.coordinator, SITE, study, QUALITY, "arms in the field", series_uid=f"{study}.2")
    with pytest.raises(Invalid):
        reject(world.hub, world.coordinator, SITE, study, "113000", WHY)
    with pytest.raises(NotFound):
        reject(world.hub, world.coordinator, SITE, study, QUALITY, WHY, sop_instance_uids=("1.2.3",))
    world.settle()
    assert rebuilt_differs(world.hub, other)[1] == []


def test_case_without_images_goes_back_to_the_site_until_they_are_shown_again(world: World) -> None:
    study = world.arrive(1, FANG)
    made = reject(world.hub, world.coordinator, SITE, study, WORKLIST, WHY)
    with world.hub.transaction() as session:
        case = session.scalars(select(Case)).one()
        tasks = session.scalars(select(ReadingTask.state)).all()
        assert (case.state, list(tasks)) == ("returned", ["canceled"])
        assert session.scalars(select(Offer).where(Offer.state == "open")).all() == []
    withdraw(world.hub, world.coordinator, made, WHY)
    with world.hub.transaction() as session:
        case = session.scalars(select(Case)).one()
        tasks = session.scalars(select(ReadingTask.state).order_by(ReadingTask.state)).all()
        assert (case.state, list(tasks)) == ("ready", ["canceled", "scheduled"])


def test_metadata_is_prepared_anew_without_the_rejected(world: World) -> None:
    study = world.arrive(1, FANG)
    study_id = world.study(study).study_id
    prepared_metadata.prepare(world.hub, study_id)
    reject(world.hub, world.coordinator, SITE, study, SAFETY, WHY, sop_instance_uids=(f"{study}.9.1",))
    prepared_metadata.prepare(world.hub, study_id)
    with world.hub.transaction() as session:
        row = session.get_one(PreparedMetadata, study_id)
    assert (row.instance_count, row.revision) == (2, world.study(study).revision)
    assert len(row.series) == 2


def test_note_whose_transaction_was_cut_off_takes_effect_once_when_it_is_done_again(
    world: World, other: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = world.arrive(1, FANG)

    class PowerCut(Exception):
        pass

    def cut(*_: object, **__: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(cataloguing, "write_rejections", cut)
        with pytest.raises(PowerCut):
            world.send_note(study, QUALITY, [f"{study}.9.1"])
    assert world.rejections(study) == {}
    run_jobs(world.hub)
    assert len(world.rejections(study)) == 2
    assert [one.number for one in amendments_of(world)] == [1]
    world.settle()
    assert rebuilt_differs(world.hub, other)[1] == []


def test_correction_whose_note_is_nowhere_is_named_by_a_rebuild_and_hides_nothing(world: World, other: Hub) -> None:
    study = world.arrive(1, FANG)
    world.send_note(study, QUALITY, [f"{study}.9.1"])
    world.settle()
    key = f"studies/{SITE}/{study}/amendments/1.json"
    orphan = world.hub.objects.read(key).replace(f"{study}.77.1".encode(), b"1.2.3")
    world.hub.objects.put(key, orphan, len(orphan))
    done, _ = rebuilt_differs(world.hub, other)
    assert done.problems == ((key, "the rejection note is not there"),)
