"""The Python dicomweb-client stores, and reads back what it stored."""

from __future__ import annotations

import io

import pydicom
import pytest
from dicomweb_client import DICOMwebClient

from tests.integration.dicomweb.county import County
from tests.integration.dicomweb.phantom import noise_study
from tests.integration.stow.serving import StowServer

pytestmark = pytest.mark.postgres

STUDY = "2.25.79001"


def test_what_is_stored_can_be_read_back(county: County, server: StowServer) -> None:
    headers = {"Authorization": f"Bearer {county.token('technician')}"}
    client = DICOMwebClient(f"{server.url}/dicomweb", headers=headers)
    datasets = [pydicom.dcmread(io.BytesIO(file)) for file in noise_study(STUDY, 1, 2, 16)]
    answer = client.store_instances(datasets)
    kept = [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence]
    assert kept == [dataset.SOPInstanceUID for dataset in datasets]
    found = client.retrieve_study(STUDY)
    assert sorted(found, key=lambda one: one.InstanceNumber) == datasets
    assert [header["0020000D"]["Value"] for header in client.retrieve_study_metadata(STUDY)] == [[STUDY]] * 2
