"""The Python dicomweb-client, as programs use it, gets everything that it can ask for."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from tests.integration.dicomweb.county import County
from tests.integration.dicomweb.phantom import BONE_SERIES, GB18030_STUDY, LUNG_SERIES, gb18030_study
from tests.integration.dicomweb.server import ImageServer
from tests.integration.dicomweb.test_images import picture_of
from tests.integration.dicomweb.test_rendered import picture_in

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

EXPLICIT, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"
BONE_SLICE = (GB18030_STUDY, BONE_SERIES, f"{BONE_SERIES}.1")
ClientOf = Callable[[str], DICOMwebClient]


@pytest.fixture
def client_of(county: County, server: ImageServer) -> ClientOf:
    """`client_of(login)` is the client of this person."""

    def make(login: str) -> DICOMwebClient:
        headers = {"Authorization": f"Bearer {county.token(login)}"}
        return DICOMwebClient(f"{server.url}/dicomweb", headers=headers)

    return make


@pytest.fixture
def client(client_of: ClientOf) -> DICOMwebClient:
    return client_of("coordinator")


def names(image: Dataset) -> tuple[str, str, str]:
    """Return the UIDs by which an image is asked for."""
    return str(image.StudyInstanceUID), str(image.SeriesInstanceUID), str(image.SOPInstanceUID)


def read(file: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(file))


def uids(datasets: list[Dataset]) -> set[str]:
    return {str(dataset.SOPInstanceUID) for dataset in datasets}


def test_searches(client: DICOMwebClient) -> None:
    (study,) = client.search_for_studies(
        fields=["StudyDescription"], search_filters={"StudyInstanceUID": GB18030_STUDY}, limit=5, offset=0
    )
    assert study["00081030"]["Value"] == ["胸部CT平扫"]
    series = client.search_for_series(GB18030_STUDY)
    assert {one["0020000E"]["Value"][0] for one in series} == {BONE_SERIES, LUNG_SERIES}
    instances = client.search_for_instances(GB18030_STUDY, BONE_SERIES)
    assert {one["00080018"]["Value"][0] for one in instances} == {f"{BONE_SERIES}.1", f"{BONE_SERIES}.2"}
    assert len(client.search_for_instances(GB18030_STUDY, get_remaining=True)) == 3


def test_headers(client: DICOMwebClient) -> None:
    of_study = client.retrieve_study_metadata(GB18030_STUDY)
    assert len(of_study) == 3
    assert client.retrieve_series_metadata(GB18030_STUDY, LUNG_SERIES) == of_study[2:]
    assert client.retrieve_instance_metadata(*BONE_SLICE) == of_study[0]
    assert str(Dataset.from_json(of_study[0]).PatientName) == "赵䶮^阿=Zhao^Yan"


def test_whole_studies_and_series(client: DICOMwebClient) -> None:
    sent = [read(file) for file in gb18030_study()]
    found = client.retrieve_study(GB18030_STUDY)
    assert sorted(found, key=names) == sorted(sent, key=names)
    assert uids(list(client.iter_study(GB18030_STUDY))) == uids(sent)
    assert uids(client.retrieve_series(GB18030_STUDY, BONE_SERIES)) == {f"{BONE_SERIES}.1", f"{BONE_SERIES}.2"}


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_rle_2frame.dcm"])
@pytest.mark.parametrize("syntax", ["*", EXPLICIT, JPEG_LS])
def test_instance_in_each_syntax(client: DICOMwebClient, pictures: dict[str, bytes], name: str, syntax: str) -> None:
    source = read(pictures[name])
    found = client.retrieve_instance(*names(source), media_types=(("application/dicom", syntax),))
    assert syntax in ("*", found.file_meta.TransferSyntaxUID)
    np.testing.assert_array_equal(found.pixel_array, source.pixel_array)


def test_frames(client: DICOMwebClient, pictures: dict[str, bytes]) -> None:
    source = read(pictures["SC_rgb_rle_2frame.dcm"])
    header = client.retrieve_instance_metadata(*names(source))
    header.pop("00280008")
    for media_types, syntax in (
        ((("application/octet-stream", EXPLICIT),), EXPLICIT),
        ((("image/jls", JPEG_LS),), JPEG_LS),
        (("image/dicom-rle",), "1.2.840.10008.1.2.5"),
    ):
        frames = client.retrieve_instance_frames(*names(source), frame_numbers=[2, 1], media_types=media_types)
        found = [picture_of(header, syntax, bytes(frame)) for frame in frames]
        np.testing.assert_array_equal(found, source.pixel_array[::-1])
    assert len(list(client.iter_instance_frames(*names(source), frame_numbers=[1, 2]))) == 2


def test_long_values(client: DICOMwebClient, server: ImageServer, pictures: dict[str, bytes]) -> None:
    source = read(pictures["examples_overlay.dcm"])
    header = client.retrieve_instance_metadata(*names(source))
    url = server.url + header["60003000"]["BulkDataURI"]
    assert client.retrieve_bulkdata(url) == [source[0x60003000].value]


def test_pictures(client: DICOMwebClient, pictures: dict[str, bytes]) -> None:
    picture = client.retrieve_instance_rendered(*BONE_SLICE, media_types=("image/png",), params={"viewport": "16,16"})
    assert picture_in(picture, "PNG").shape == (16, 16)
    jpeg = client.retrieve_instance_rendered(*BONE_SLICE, media_types=("image/jpeg",), params={"quality": 20})
    assert picture_in(jpeg).shape == (32, 32)
    loop = names(read(pictures["examples_ybr_color.dcm"]))
    frames = [
        client.retrieve_instance_frames_rendered(*loop, frame_numbers=[number], media_types=("image/jpeg",))
        for number in (1, 2)
    ]
    assert [picture_in(frame).shape for frame in frames] == [(240, 320, 3)] * 2
    assert frames[0] != frames[1]
    assert client.retrieve_series_rendered(GB18030_STUDY, BONE_SERIES).count(b"Content-Location: ") == 2
    with pytest.raises(OSError, match="406"):
        client.retrieve_instance_rendered(*loop, media_types=("image/jpeg",))


def test_thumbnails(client: DICOMwebClient, server: ImageServer) -> None:
    """The client has no method for them, but its session and its addresses."""
    thumbnail = client._http_get(f"{server.url}/dicomweb/studies/{GB18030_STUDY}/thumbnail").content
    assert picture_in(thumbnail).shape == (32, 32)


def test_refusal_is_an_error_with_its_status(client: DICOMwebClient, client_of: ClientOf) -> None:
    for ask in (
        lambda: client.retrieve_study("1.2.3"),
        lambda: client_of("stranger").retrieve_instance(*BONE_SLICE),
    ):
        with pytest.raises(OSError, match="404"):
            ask()
