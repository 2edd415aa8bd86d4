"""How long a real S3 server takes a study's images beside plain PUTs of the same bytes as 16 MiB objects.

The server writes through to the disk (ministack with S3_PERSIST=1). Ours is the whole road on real processes: gateway,
web, worker and scheduler of the hub, embedded PostgreSQL and Redis. The time of a study begins when the gateway has
declared it; for `s3.ingest` it ends with its last PUT, for `s3.commit` when the hub has verified every digest. The
pixels are noise, so that as many bytes travel as are received and the peer PUTs the same. What the same studies take as
phantoms, which shrink to a quarter before they travel, is told in the detail.
"""

from __future__ import annotations

import hashlib
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import urllib3
from pydicom.filereader import dcmread

from gateway.clock import utc_now
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.objects.s3 import S3Store
from tests.benchmarks.clinic import Clinic, event_time, moment, running_clinic
from tests.benchmarks.harness import Bench, Goal, benchmark
from tests.benchmarks.images import fill_with_noise, write_ct, write_mr
from tests.support.faulty_line import Line
from tests.support.network import SITE
from tests.support.s3_server import S3Server, running_s3_server
from tests.support.waiting import eventually

CT_SLICES, MR_SLICES = 358, 1277  # together 1,635 instances and 356 MB
OBJECT_BYTES = 16 * 1024 * 1024
PLAIN_REPEATS = 3
WITHIN_S = 300.0
BUCKET = "counterpart"


@dataclass(frozen=True)
class Times:
    """What one study took."""

    sent_bytes: int
    packs: int
    to_last_put_s: float
    to_verified_s: float


@benchmark(Goal("s3.ingest", "x", at_most=1.3), Goal("s3.commit", "x", at_most=2.2))
def s3(bench: Bench) -> None:
    """Bring two studies in, and PUT the same bytes before and after it."""
    noise, phantoms = studies_in(bench, "noise"), studies_in(bench, "phantoms")
    fill_with_noise(noise)
    with running_s3_server(bench.directory / "s3") as server:
        S3Store(server.endpoint, BUCKET, server.credentials, clock=utc_now, secure=False).ensure_bucket()
        with running_clinic(bench.directory / "clinic", Line(), objects=objects_of(bench.directory, server)) as clinic:
            shrunk = [bring(clinic, files) for files in phantoms]
            times = [bring(clinic, files) for files in noise]
        plain = [put_plainly(server, sum(one.sent_bytes for one in times)) for _ in range(PLAIN_REPEATS)]
    plain_s = statistics.median(plain)
    detail = {
        "instances": CT_SLICES + MR_SLICES,
        "received_bytes": sum(path.stat().st_size for files in noise for path in files),
        "studies": [asdict(one) for one in times],
        "phantoms": [asdict(one) for one in shrunk],
        "plain_seconds": [round(one, 3) for one in plain],
        "peer": f"PUTs of {OBJECT_BYTES} bytes over one connection to the same server",
    }
    bench.record("s3.ingest", sum(one.to_last_put_s for one in times) / plain_s, detail)
    bench.record("s3.commit", sum(one.to_verified_s for one in times) / plain_s, detail)


def studies_in(bench: Bench, name: str) -> list[list[Path]]:
    """Write a CT and an MR of phantoms."""
    folder = bench.directory / name
    return [
        write_ct(folder / "ct", bench.data, studies=1, slices=CT_SLICES).studies[0],
        write_mr(folder / "mr", bench.data, studies=1, slices=MR_SLICES).studies[0],
    ]


def bring(clinic: Clinic, files: list[Path]) -> Times:
    """Send one study through everything."""
    uid = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    clinic.send(files[0].parent)
    verified_at = verified(clinic, uid)
    begun_at = min(event_time(event) for event in clinic.events("transfer_declared") if event["study_uid"] == uid)
    uploads = [event for event in clinic.events("pack_uploaded") if event["study_uid"] == uid]
    return Times(
        sent_bytes=sum(event["size_bytes"] for event in uploads),
        packs=len(uploads),
        to_last_put_s=max(event_time(event) for event in uploads) - begun_at,
        to_verified_s=verified_at - begun_at,
    )


def objects_of(folder: Path, server: S3Server) -> str:
    """Return the hub's configuration of its object store."""
    secret = folder / "s3.secret"
    secret.write_text(server.credentials.secret_key)
    return (
        f'[objects]\nkind = "s3"\nendpoint = "{server.endpoint}"\nbucket = "{BUCKET}"\nsecure = false\n'
        f'access_key = "{server.credentials.access_key}"\nsecret_key_file = "{secret}"\n'
    )


def verified(clinic: Clinic, study_uid: str) -> float:
    """Return when the hub had verified every digest of a study, by this machine's clock."""
    path = f"/studies/{study_uid}/custody?site_id={SITE}"

    def found() -> float:
        if Hop.VERIFIED not in clinic.network.hops(study_uid):
            raise AssertionError(f"{study_uid} is not verified")
        ledger = clinic.network.api("coordinator").call("GET", path)["custody"]
        return max(moment(line) for line in ledger if line["hop"] == Hop.VERIFIED)

    return eventually(found, WITHIN_S, every_s=0.2, logs=[clinic.network.gateway, clinic.network.hub])


def put_plainly(server: S3Server, size_bytes: int) -> float:
    """PUT so many bytes as objects of OBJECT_BYTES, one after the other, and return the seconds."""
    store = S3Store(server.endpoint, f"plain-{new_id()}", server.credentials, clock=utc_now, secure=False)
    store.ensure_bucket()
    bodies = [random.Random(number).randbytes(length) for number, length in enumerate(lengths_of(size_bytes))]
    requests = [
        store.presign_put(f"a/{number}", size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), expires_s=600)
        for number, body in enumerate(bodies)
    ]
    with urllib3.PoolManager(retries=False) as pool:
        started = time.monotonic()
        for request, body in zip(requests, bodies, strict=True):
            answer = pool.request(request.method, request.url, body=body, headers=request.headers)
            if answer.status != 200:
                raise RuntimeError(f"the server answered {answer.status}")
        return time.monotonic() - started


def lengths_of(size_bytes: int) -> Iterator[int]:
    """Yield the lengths of the objects into which so many bytes are cut. Pure."""
    while size_bytes > 0:
        yield min(size_bytes, OBJECT_BYTES)
        size_bytes -= OBJECT_BYTES
