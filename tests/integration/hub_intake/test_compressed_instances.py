"""What a gateway made smaller is believed only when it gives back what was received; a resend in any syntax is held."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian
from sqlalchemy import select

from reading_queue.services.arrival.verification import verify_pack
from reading_queue.services.hub import Hub
from storage.catalogue.tables import GrantedPack
from storage.catalogue.tables import Instance as CatalogueRow
from storage.contract.identifiers import Uid
from storage.contract.wire import ManifestAnswer, TransferAnswer, TransferState
from storage.dicom.digests import digest_instance
from storage.dicom.structure import check_structure
from storage.dicom.transcoding import compress
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.studies import Instance, instance_of, make_instance, make_manifest, make_pack, sha256

pytestmark = pytest.mark.postgres

EXPLICIT = "1.2.840.10008.1.2.1"


def picture(hub: Hub, level: int = 0) -> Instance:
    pixels = (np.indices((64, 64)).sum(axis=0) // 3 + level).astype("<u2").tobytes()
    return make_instance(1, hub.clock(), Rows=64, Columns=64, PixelData=pixels)


def compressed(received: Instance) -> Instance:
    made = io.BytesIO()
    compress(io.BytesIO(received.file), lambda: made)
    file = made.getvalue()
    assert 0 < len(file) < len(received.file)
    digests = digest_instance(made, check_structure(made), compressed_here=True)
    assert digests.received_sha256 == received.entry.received_sha256
    update = {
        "transfer_syntax_uid": Uid(pydicom.dcmread(io.BytesIO(file)).file_meta.TransferSyntaxUID),
        "received_transfer_syntax_uid": Uid(EXPLICIT),
        "stored_sha256": sha256(file),
        "size_bytes": len(file),
        "pixel_sha256": digests.pixel_sha256,
        "values_sha256": digests.values_sha256,
    }
    return Instance(received.entry.model_copy(update=update), file)


def in_implicit_form(received: Instance, change: Callable[[pydicom.Dataset], None] = lambda _: None) -> Instance:
    dataset = pydicom.dcmread(io.BytesIO(received.file))
    change(dataset)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    file = io.BytesIO()
    dataset.save_as(file, implicit_vr=True, little_endian=True)
    resent = instance_of(file.getvalue(), dataset, received.entry.received_at)
    digests = digest_instance(file, check_structure(file))
    update = {"pixel_sha256": digests.pixel_sha256, "values_sha256": digests.values_sha256}
    return Instance(resent.entry.model_copy(update=update), resent.file)


def send(gateway: GatewayStandIn, hub: Hub, instance: Instance, revision: int = 1) -> TransferAnswer:
    manifest = make_manifest(SITE, [instance], revision=revision)
    transfer_id = gateway.post("/manifests", manifest).into(ManifestAnswer).transfer_id
    gateway.upload_and_commit(transfer_id, [make_pack(SITE, [instance])])
    with hub.transaction() as session:
        ids = session.scalars(select(GrantedPack.granted_pack_id)).all()
    for granted_pack_id in ids:
        verify_pack(hub, granted_pack_id)
    return gateway.get(f"/transfers/{transfer_id}").into(TransferAnswer)


def declare(gateway: GatewayStandIn, instance: Instance) -> ManifestAnswer:
    return gateway.post("/manifests", make_manifest(SITE, [instance], revision=2)).into(ManifestAnswer)


def test_a_compressed_instance_proves_and_is_catalogued_with_what_it_was(gateway: GatewayStandIn, network: Hub) -> None:
    received = picture(network)
    sent = compressed(received)
    assert send(gateway, network, sent).state is TransferState.VERIFIED
    with network.transaction() as session:
        row = session.scalars(select(CatalogueRow)).one()
        assert (row.transfer_syntax_uid, row.received_transfer_syntax_uid) == (sent.entry.transfer_syntax_uid, EXPLICIT)
        assert (row.received_sha256, row.pixel_sha256) == (received.entry.received_sha256, sent.entry.pixel_sha256)
        assert row.values_sha256 == sent.entry.values_sha256
        assert len(row.frame_spans) == 1
    pixels = pydicom.dcmread(io.BytesIO(received.file)).PixelData
    assert sent.entry.pixel_sha256 == hashlib.sha256(pixels).hexdigest()


@pytest.mark.parametrize("lie", ["received_sha256", "pixel_sha256", "values_sha256"])
def test_a_compressed_instance_that_gives_back_something_else_is_refused(
    gateway: GatewayStandIn, network: Hub, lie: str
) -> None:
    honest = compressed(picture(network))
    lying = Instance(honest.entry.model_copy(update={lie: sha256(b"another")}), honest.file)
    [refusal] = send(gateway, network, lying).refused
    assert refusal.code == "hash_differs"


def test_another_picture_under_the_received_digest_is_refused(gateway: GatewayStandIn, network: Hub) -> None:
    entry, other = compressed(picture(network)).entry, compressed(picture(network, level=1))
    update = {"stored_sha256": sha256(other.file), "size_bytes": len(other.file)}
    [refusal] = send(gateway, network, Instance(entry.model_copy(update=update), other.file)).refused
    assert refusal.code == "hash_differs"


def test_an_instance_without_a_recipe_that_claims_to_be_compressed_is_refused(
    gateway: GatewayStandIn, network: Hub
) -> None:
    plain = picture(network)
    claiming = plain.entry.model_copy(update={"received_transfer_syntax_uid": Uid("1.2.840.10008.1.2")})
    [refusal] = send(gateway, network, Instance(claiming, plain.file)).refused
    assert refusal.code == "not_restorable"


def test_the_same_image_is_held_in_whatever_syntax_it_comes_again(gateway: GatewayStandIn, network: Hub) -> None:
    received = picture(network)
    send(gateway, network, compressed(received))
    for again in (received, in_implicit_form(received)):
        answer = declare(gateway, again)
        assert (len(answer.held), answer.needed, answer.conflicting) == (1, (), ())


def test_another_value_or_pixel_is_another_image(gateway: GatewayStandIn, network: Hub) -> None:
    received = picture(network)
    send(gateway, network, compressed(received))

    def rename(dataset: pydicom.Dataset) -> None:
        dataset.PatientID = "P-0002"

    for other in (in_implicit_form(received, rename), in_implicit_form(picture(network, level=1))):
        assert len(declare(gateway, other).conflicting) == 1


def test_digests_that_a_gateway_did_not_give_are_taken_by_the_hub(gateway: GatewayStandIn, network: Hub) -> None:
    received = picture(network)
    send(gateway, network, received)
    assert len(declare(gateway, in_implicit_form(received)).held) == 1
