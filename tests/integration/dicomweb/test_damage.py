"""What decayed in the object store is left out and told; all the rest of a study stays readable."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import select

from reading_queue.services.holdings.scrubbing import scrub
from storage.catalogue.tables import Instance
from tests.integration.dicomweb.county import OTHER_SITE, County
from tests.integration.dicomweb.phantom import noise_study
from tests.integration.dicomweb.server import ImageClient
from tests.integration.dicomweb.test_rendered import located_parts
from tests.integration.dicomweb.test_retrieval import pack_of

pytestmark = pytest.mark.postgres

DAMAGED, RUINED = "2.25.88201", "2.25.88202"
EXPLICIT = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1'
IMPLICIT = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2'


def decay(county: County, study_uid: str, uids: list[str]) -> None:
    """Change a byte of each of these instances in the study's one pack, and let it be found."""
    pack = pack_of(county, study_uid)
    content = bytearray(county.hub.objects.read(pack.object_key))
    with county.hub.transaction() as session:
        for one in session.scalars(select(Instance).where(Instance.sop_instance_uid.in_(uids))):
            content[one.offset_bytes + one.size_bytes - 20] ^= 0x40
    county.hub.objects.put(pack.object_key, bytes(content), len(content))
    scrub(county.hub, pack.pack_id)


@pytest.fixture(scope="module")
def sound(county: County) -> list[bytes]:
    """The five files that are left of a study of two series with three slices each."""
    files = noise_study(DAMAGED, 2, 3, 16)
    county.arrive(OTHER_SITE, files, in_one_pack=True)
    decay(county, DAMAGED, [f"{DAMAGED}.1.2"])
    return [file for number, file in enumerate(files) if number != 1]


def digests(files: list[bytes]) -> list[str]:
    return sorted(hashlib.sha256(file).hexdigest() for file in files)


@pytest.mark.parametrize(("path", "given"), [("", 5), (f"/series/{DAMAGED}.1", 2)])
def test_rest_of_the_study_is_given_and_the_lack_is_told(
    coordinator: ImageClient, sound: list[bytes], path: str, given: int
) -> None:
    reply = coordinator.get(f"/dicomweb/studies/{DAMAGED}{path}")
    assert reply.status == 206
    assert f"damaged instances are left out, their site was asked to send them again: 1 ({DAMAGED}.1.2)" in (
        reply.headers["Warning"].lower()
    )
    assert digests([body for _, _, body in reply.parts()]) == digests(sound[:given])
    made = coordinator.get(f"/dicomweb/studies/{DAMAGED}{path}", Accept=IMPLICIT)
    assert (made.status, len(made.parts())) == (206, given)


def test_series_without_damage_is_whole(coordinator: ImageClient, sound: list[bytes]) -> None:
    for resource in ("", "/rendered", "/metadata"):
        reply = coordinator.get(f"/dicomweb/studies/{DAMAGED}/series/{DAMAGED}.2{resource}")
        assert (reply.status, reply.headers.get("Warning")) == (200, None)


def test_headers_are_all_there_and_say_whose_pixels_are_not(coordinator: ImageClient, sound: list[bytes]) -> None:
    reply = coordinator.get(f"/dicomweb/studies/{DAMAGED}/metadata")
    assert len(reply.json()) == 6
    assert f"1 ({DAMAGED}.1.2)" in reply.headers["Warning"]


def test_pictures_of_the_rest_are_given_and_the_lack_is_told(coordinator: ImageClient, sound: list[bytes]) -> None:
    reply = coordinator.get(f"/dicomweb/studies/{DAMAGED}/rendered")
    assert (reply.status, len(located_parts(reply))) == (206, 5)
    assert f"1 ({DAMAGED}.1.2)" in reply.headers["Warning"]
    # the middle one of three is damaged
    assert coordinator.get(f"/dicomweb/studies/{DAMAGED}/thumbnail").status == 200
    assert coordinator.get(f"/dicomweb/studies/{DAMAGED}/series/{DAMAGED}.1/thumbnail").status == 200


@pytest.mark.parametrize("resource", ["", "/rendered", "/thumbnail", "/frames/1", "/frames/1/rendered"])
def test_damaged_instance_itself_is_told(coordinator: ImageClient, sound: list[bytes], resource: str) -> None:
    series = f"/dicomweb/studies/{DAMAGED}/series/{DAMAGED}.1"
    reply = coordinator.get(f"{series}/instances/{DAMAGED}.1.2{resource}")
    assert (reply.status, reply.code()) == (410, "instance_damaged")
    assert coordinator.get(f"{series}/instances/{DAMAGED}.1.3{resource}").status == 200


def test_what_a_reader_holds_of_the_whole_study_is_not_what_is_left(coordinator: ImageClient, county: County) -> None:
    county.arrive(OTHER_SITE, noise_study(RUINED, 1, 2, 16), in_one_pack=True)
    path = f"/dicomweb/studies/{RUINED}"
    whole = coordinator.get(path)
    assert whole.status == 200
    decay(county, RUINED, [f"{RUINED}.1.1"])
    left = coordinator.get(path, **{"If-None-Match": whole.headers["ETag"]})
    assert (left.status, len(left.parts())) == (206, 1)
    decay(county, RUINED, [f"{RUINED}.1.2"])
    for resource in ("", "/rendered", "/thumbnail"):
        reply = coordinator.get(f"{path}{resource}")
        assert (reply.status, reply.code()) == (410, "instance_damaged")
    assert len(coordinator.get(f"{path}/metadata").json()) == 2
