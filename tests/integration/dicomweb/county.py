"""A county whose studies came in by the hub's real intake, and its people with their sessions."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import BinaryIO

import pydicom
from argon2 import PasswordHasher
from sqlalchemy import select

from reading_queue.services.access import accounts
from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.arrival import intake
from reading_queue.services.arrival.settling import VERIFY_JOB
from reading_queue.services.arrival.verification import verify_pack
from reading_queue.services.holdings.prepared_metadata import PREPARE_JOB, prepare
from reading_queue.services.hub import Hub
from reading_queue.services.network.network import load_network
from reading_queue.services.patients.link_asking import LINK_JOB
from reading_queue.services.patients.linking import link
from reading_queue.services.routing import routing
from storage.contract.identifiers import Sha256Hex, SiteId, Uid
from storage.contract.manifest import InstanceEntry, Manifest, Purpose
from storage.contract.wire import CommitRequest, GrantRequest, PackDeclaration
from storage.ledger.tables import Gateway, OutboxMessage
from storage.packs import PackMember, PackStream, layout_of, pack_sha256

# The folder itself: asking pydicom for a file by name may try the network.
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
SITE, OTHER_SITE = "qinghe-t01", "qinghe-t02"
PASSWORD = "a password for tests"
CHEAP_HASHES = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

NETWORK = {
    "organisations": [
        {"id": "qinghe", "kind": "county", "name": "清河县人民医院"},
        {"id": SITE, "kind": "township", "parent": "qinghe", "site": SITE, "name": "双桥镇中心卫生院"},
        {"id": OTHER_SITE, "kind": "township", "parent": "qinghe", "site": OTHER_SITE, "name": "白滩镇中心卫生院"},
        {"id": "elsewhere", "kind": "county", "name": "别县人民医院"},
    ],
    "agreements": [
        {
            "id": "first",
            "requesting": [SITE, OTHER_SITE],
            "assisting": "qinghe",
            "stage": 1,
            "time_limits_min": {"stat": 60, "urgent": 120, "routine": 1440, "background": 4320},
            "valid_from": "2020-01-01",
            "valid_until": "2099-12-31",
        }
    ],
    "physicians": [
        {
            "login": login,
            "name": login,
            "organisation": organisation,
            "password": PASSWORD,
            "title": "attending",
            "licence_number": f"TEST-{login}",
            "licence_valid_until": "2099-12-31",
            "modalities": [],
            "specialties": [],
            "wip_max": 50,
            "duty": "always",
        }
        for login, organisation in (("reader", "qinghe"), ("stranger", "elsewhere"))
    ],
    "technicians": [
        {"login": "technician", "name": "technician", "organisation": SITE, "password": PASSWORD},
        {"login": "neighbour", "name": "neighbour", "organisation": OTHER_SITE, "password": PASSWORD},
    ],
    "coordinators": [{"login": "coordinator", "name": "coordinator", "organisation": "qinghe", "password": PASSWORD}],
    "administrators": [],
}


@dataclass
class County:
    """The hub with the network loaded; `arrive` brings studies in."""

    hub: Hub
    tokens: dict[str, str] = field(default_factory=dict)

    def build(self) -> County:
        load_network(self.hub, NETWORK, hasher=CHEAP_HASHES)
        with self.hub.transaction() as session:
            session.add_all(
                Gateway(
                    gateway_id=f"gateway-{site}",
                    site_id=site,
                    public_key=site.encode().ljust(32),
                    software_version="test",
                    enrolled_at=self.hub.clock(),
                )
                for site in (SITE, OTHER_SITE)
            )
        return self

    def token(self, login: str) -> str:
        """Return a bearer token of this person."""
        if login not in self.tokens:
            self.tokens[login] = accounts.login(self.hub, login, PASSWORD, "api").token
        return self.tokens[login]

    def arrive(self, site: str, files: list[bytes], purpose: Purpose = "read", *, in_one_pack: bool = False) -> str:
        """Bring in Part 10 files of one study, each in a pack of its own or all in one; return the study's UID."""
        gateway = GatewayIdentity(gateway_id=f"gateway-{site}", site_id=site)
        manifest, by_uid = self._manifest(site, files, purpose)
        transfer_id = intake.declare(self.hub, gateway, manifest).transfer_id
        entries = manifest.instances
        for packed in [entries] if in_one_pack else [(entry,) for entry in entries]:
            self._upload(gateway, transfer_id, manifest, packed, by_uid)
        self.run_jobs()
        answer = intake.transfer_answer(self.hub, gateway, transfer_id)
        assert answer.state == "verified", answer.refused
        return manifest.study_uid

    def _manifest(self, site: str, files: list[bytes], purpose: Purpose) -> tuple[Manifest, dict[str, bytes]]:
        by_uid = {header_of(file).SOPInstanceUID: file for file in files}
        now = self.hub.clock()
        manifest = Manifest(
            site_id=SiteId(site),
            study_uid=header_of(files[0]).StudyInstanceUID,
            revision=1,
            calling_ae_title="SCANNER",
            complete_because="test",
            completed_at=now,
            purpose=purpose,
            instances=tuple(
                InstanceEntry(
                    sop_instance_uid=Uid(uid),
                    sop_class_uid=header_of(file).SOPClassUID,
                    series_uid=header_of(file).SeriesInstanceUID,
                    transfer_syntax_uid=header_of(file).file_meta.TransferSyntaxUID,
                    received_sha256=sha256(dataset_bytes(file)),
                    stored_sha256=sha256(file),
                    size_bytes=len(file),
                    received_at=now,
                )
                for uid, file in sorted(by_uid.items())
            ),
        )
        return manifest, by_uid

    def _upload(
        self,
        gateway: GatewayIdentity,
        transfer_id: str,
        manifest: Manifest,
        entries: Sequence[InstanceEntry],
        by_uid: Mapping[str, bytes],
    ) -> None:
        def open_member(member: PackMember) -> BinaryIO:
            return io.BytesIO(by_uid[member.sop_instance_uid])

        members = [PackMember(entry.sop_instance_uid, entry.size_bytes, entry.stored_sha256) for entry in entries]
        layout = layout_of(manifest.site_id, manifest.study_uid, members)
        digest = pack_sha256(layout, open_member)
        uids = tuple(entry.sop_instance_uid for entry in entries)
        pack = PackDeclaration(pack_sha256=digest, size_bytes=layout.size_bytes, sop_instance_uids=uids)
        granted = intake.grant(self.hub, gateway, transfer_id, GrantRequest(packs=(pack,)))
        with PackStream(layout, open_member) as stream:
            self.hub.objects.put(f"incoming/{granted.grant_id}/{digest}.tar", stream.read(), layout.size_bytes)
        intake.commit(self.hub, gateway, granted.grant_id, CommitRequest(pack_sha256s=(digest,)))

    def run_jobs(self) -> None:
        """Do what the outbox asks for, as relay and worker would."""
        while (message := self._take_message()) is not None:
            if message.job == VERIFY_JOB:
                verify_pack(self.hub, message.arguments["granted_pack_id"])
            elif message.job == "cases.route":
                routing.route(self.hub, message.arguments["reading_task_id"])
            elif message.job == PREPARE_JOB:
                prepare(self.hub, message.arguments["study_id"])
            elif message.job == LINK_JOB:
                link(self.hub, message.arguments["patient_id"])

    def _take_message(self) -> OutboxMessage | None:
        is_due = (OutboxMessage.due_at <= self.hub.clock()) | (OutboxMessage.job == PREPARE_JOB)  # without its wait
        waiting = select(OutboxMessage).where(OutboxMessage.published_at.is_(None), is_due)
        waiting = waiting.order_by(OutboxMessage.message_id)
        with self.hub.transaction() as session:
            message = session.scalars(waiting.limit(1)).one_or_none()
            if message is not None:
                message.published_at = self.hub.clock()
            return message


def bundled(name: str) -> bytes:
    """Return the bytes of one of pydicom's own files."""
    return (BUNDLED / name).read_bytes()


def with_own_uids(file: bytes, number: int) -> bytes:
    """Return the file under a study and an SOP Instance UID of its own; not one byte more is changed.

    pydicom's variants of one image share their UIDs.
    """
    for keyword in ("StudyInstanceUID", "SOPInstanceUID"):
        uid = str(header_of(file)[keyword].value)
        own = f"{uid[:-4]}{1000 + number}"
        file = file.replace(uid.encode(), own.encode())
    header_of.cache_clear()
    return file


def with_header(file: bytes, **attributes: str) -> bytes:
    """Return the file with these attributes set."""
    dataset = pydicom.dcmread(io.BytesIO(file))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@cache
def header_of(file: bytes) -> pydicom.FileDataset:
    """Return the file's header."""
    return pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)


def dataset_bytes(file: bytes) -> bytes:
    """Return what a scanner would have sent: the file without preamble, prefix and file meta."""
    stream = io.BytesIO(file)
    stream.seek(132)
    read_file_meta_info_at(stream)
    return stream.read()


def read_file_meta_info_at(stream: io.BytesIO) -> None:
    """Move behind the file meta group by its group length."""
    head = stream.read(12)
    stream.seek(int.from_bytes(head[8:12], "little"), io.SEEK_CUR)


def sha256(data: bytes) -> Sha256Hex:
    return Sha256Hex(hashlib.sha256(data).hexdigest())
