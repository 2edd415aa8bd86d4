"""Studies on their way into the catalogue, and the scheduler's part done at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from reading_queue.services.holdings import recording
from reading_queue.services.hub import Hub
from storage.catalogue.snapshot import Line, dump
from storage.catalogue.tables import Pack
from storage.contract.identifiers import Uid
from storage.contract.manifest import Purpose
from storage.contract.wire import ManifestAnswer
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.jobs import run_jobs
from tests.integration.hub_intake.studies import STUDY, Instance, PackedStudy, make_instance, make_manifest, make_pack


@dataclass
class Sender:
    """Sends studies through one gateway."""

    gateway: GatewayStandIn
    hub: Hub
    revision: int = 0

    def send(
        self, *packs: list[Instance], study: Uid = STUDY, purpose: Purpose = "read", verify: bool = True
    ) -> list[PackedStudy]:
        """Declare all instances as one transfer, upload each list as one pack, and have all of it verified."""
        self.revision += 1
        every = [instance for pack in packs for instance in pack]
        manifest = make_manifest(self.gateway.site_id, every, study=study, revision=self.revision)
        manifest = manifest.model_copy(update={"purpose": purpose})
        transfer_id = self.gateway.post("/manifests", manifest).into(ManifestAnswer).transfer_id
        made = [make_pack(self.gateway.site_id, pack, study=study) for pack in packs]
        self.gateway.upload_and_commit(transfer_id, made)
        if verify:
            run_jobs(self.hub)
        return made

    def slices(self, numbers: range, study: Uid = STUDY, **header: Any) -> list[Instance]:
        """Make slices of a study."""
        return [make_instance(number, self.hub.clock(), study=study, **header) for number in numbers]

    def declare(self, instances: list[Instance], study: Uid = STUDY) -> ManifestAnswer:
        """Declare instances and return what the hub says of them."""
        self.revision += 1
        manifest = make_manifest(self.gateway.site_id, instances, study=study, revision=self.revision)
        return self.gateway.post("/manifests", manifest).into(ManifestAnswer)


def sweep(hub: Hub) -> None:
    """Write all that the scheduler writes into object storage."""
    while recording.complete_records(hub) or recording.record_revisions(hub):
        pass


def lines_of(hub: Hub) -> list[Line]:
    """Return the whole catalogue as a snapshot's lines."""
    with hub.transaction() as session:
        return list(dump(session))


def packs_of(hub: Hub) -> list[Pack]:
    """Return every pack in the order in which they were catalogued."""
    with hub.transaction() as session:
        return list(session.scalars(select(Pack).order_by(Pack.number)))
