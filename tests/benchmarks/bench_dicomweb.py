"""What readers wait for: whole studies and headers by WADO-RS, against Orthanc with its DICOMweb plugin.

Both hold the same images, each in its own way: Orthanc as they were sent, the hub compressed without loss. Both are
asked for what they have (`transfer-syntax=*`), and what counts is images by time: a reader wants slices, not bytes.
How many bytes each sent is in the details.
"""

from __future__ import annotations

import gzip
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from storage.contract.hops import Hop
from tests.benchmarks.bench_large import roles_of
from tests.benchmarks.harness import Bench, Goal, benchmark, median_ratio
from tests.benchmarks.images import Images, write_ct, write_mr
from tests.benchmarks.memory import peak_pss
from tests.benchmarks.peers import OrthancWeb
from tests.browser.pictures import study_uid_of
from tests.support.network import CHECKOUT, GATEWAY_AE, SCANNER_AE, RunningNetwork, running_network

SLICES, HEADERS, READERS = 400, 1000, 10
READING_S = 15.0
WITHIN_S = 300.0
CHUNK_BYTES = 1024 * 1024
FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
HEAD_OF_PART = b"Content-Type: application/dicom"
RATIOS = ("wado.study", "wado.metadata.ms", "wado.metadata.orthanc")


@dataclass
class Server:
    """A DICOMweb service: where, and how it knows who asks."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=120))

    def open(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        """Return the answer before its body is read."""
        answer = self.http.request(
            "GET", f"{self.url}/{path}", headers={**self.headers, **headers}, preload_content=False
        )
        if answer.status != 200:
            raise RuntimeError(f"{self.url}: {answer.status} {answer.read()[:500]!r}")
        return answer

    def drain(self, study_uid: str) -> int:
        """Read a whole study and return how many bytes came."""
        with self.open(f"studies/{study_uid}", Accept=FILES) as answer:
            return sum(len(chunk) for chunk in answer.stream(CHUNK_BYTES, decode_content=False))

    def count_parts(self, study_uid: str) -> int:
        """Return how many instances an answer holds."""
        with self.open(f"studies/{study_uid}", Accept=FILES) as answer:
            return answer.read().count(HEAD_OF_PART)

    def read_headers(self, study_uid: str) -> tuple[int, bytes, str]:
        """Return the metadata of a study as it came, and how it is packed."""
        headers = {"Accept": "application/dicom+json", "Accept-Encoding": "gzip"}
        with self.open(f"studies/{study_uid}/metadata", **headers) as answer:
            body = answer.read(decode_content=False)
            return len(body), body, answer.headers.get("Content-Encoding", "identity")


@benchmark(
    Goal("wado.study", "x", at_least=2),
    Goal("wado.metadata.ms", "ms", at_most=150),
    Goal("wado.metadata.orthanc", "x", at_least=5),
    Goal("wado.readers.rss", "MB", at_most=300),
)
def wado(bench: Bench) -> None:
    """Read a study of 400 slices and the headers of 1,000 instances from both; then let ten readers read from ours."""
    ct = write_ct(bench.directory / "ct", bench.data, studies=1, slices=SLICES)
    mr = write_mr(bench.directory / "mr", bench.data, studies=1, slices=HEADERS)
    with running_network(bench.directory / "network") as network:
        ours = hold(network, ct, mr)
        if bench.wants(*RATIOS):
            compare(bench, ours, ct, mr)
        if bench.wants("wado.readers.rss"):
            read_together(bench, ours, network, uid_of(ct))


def hold(network: RunningNetwork, *all_images: Images) -> Server:
    """Bring the studies into the hub by the real road, and return it as one who may see them asks it."""
    for images in all_images:
        send(network, images.studies[0][0].parent)
        network.wait_for(uid_of(images), Hop.CATALOGUED, within_s=WITHIN_S)
    return Server(f"{network.url}/dicomweb", {"Authorization": f"Bearer {network.api('coordinator').token}"})


def send(network: RunningNetwork, folder: Path) -> None:
    """Send a folder to the gateway as a scanner does."""
    argv = [sys.executable, "-m", "tests.benchmarks.sender", "--port", str(network.dicom_port)]
    argv += ["--calling", SCANNER_AE, "--called", GATEWAY_AE, str(folder)]
    told = json.loads(subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout)
    if told["problems"] or told["refused"]:
        raise RuntimeError(f"the gateway did not take everything: {told}")


def compare(bench: Bench, ours: Server, ct: Images, mr: Images) -> None:
    """Measure what is a ratio, or a time, of both."""
    orthanc = OrthancWeb(bench.directory / "orthanc", bench.processes)
    orthanc.start()
    try:
        orthanc.fill(ct.studies[0], mr.studies[0])
        servers = {"ours": ours, "Orthanc": Server(orthanc.url)}
        if bench.wants("wado.study"):
            compare_studies(bench, servers, uid_of(ct), orthanc.describe() | {"images": words(ct)})
        if bench.wants("wado.metadata.ms", "wado.metadata.orthanc"):
            compare_headers(bench, servers, uid_of(mr), orthanc.describe() | {"images": words(mr)})
    finally:
        orthanc.stop()


def compare_studies(bench: Bench, servers: Mapping[str, Server], study_uid: str, detail: dict[str, Any]) -> None:
    """Record how many times as many images by time we give."""
    parts = {name: server.count_parts(study_uid) for name, server in servers.items()}
    if set(parts.values()) != {SLICES}:
        raise RuntimeError(f"not everything came: {parts}")
    sent: dict[str, int] = {}

    def images_per_second(name: str) -> float:
        started = time.perf_counter()
        sent[name] = servers[name].drain(study_uid)
        return SLICES / (time.perf_counter() - started)

    speeds = bench.interleave({name: lambda name=name: images_per_second(name) for name in servers})
    detail |= {"images_per_second": speeds, "bytes_sent": sent, "asked_for": FILES}
    detail["megabytes_per_second"] = {
        name: statistics.median(speeds[name]) / SLICES * sent[name] / 1e6 for name in servers
    }
    bench.record("wado.study", median_ratio(speeds["ours"], speeds["Orthanc"]), detail)


def compare_headers(bench: Bench, servers: Mapping[str, Server], study_uid: str, detail: dict[str, Any]) -> None:
    """Record how long headers take, and how many times as long they take Orthanc."""
    first = {name: milliseconds(server, study_uid) for name, server in servers.items()}
    for name, server in servers.items():
        _, body, packing = server.read_headers(study_uid)
        if len(json.loads(gzip.decompress(body) if packing == "gzip" else body)) != HEADERS:
            raise RuntimeError(f"not all headers came from {name}")
        detail |= {f"bytes_{name}": len(body), f"packing_{name}": packing}
    times = bench.interleave({name: lambda name=name: milliseconds(servers[name], study_uid) for name in servers})
    detail |= {"ms": times, "ms_of_the_first_request": first}
    bench.record("wado.metadata.ms", statistics.median(times["ours"]), detail)
    bench.record("wado.metadata.orthanc", median_ratio(times["Orthanc"], times["ours"]), detail)


def milliseconds(server: Server, study_uid: str) -> float:
    """Return how long it takes until all headers have come."""
    started = time.perf_counter()
    server.read_headers(study_uid)
    return (time.perf_counter() - started) * 1000


def read_together(bench: Bench, server: Server, network: RunningNetwork, study_uid: str) -> None:
    """Record the memory of the web process while ten readers stream the study again and again."""
    until, read, problems = time.monotonic() + READING_S, [0] * READERS, []

    def stream(number: int) -> None:
        own = Server(server.url, server.headers)
        try:
            while time.monotonic() < until:
                read[number] += own.drain(study_uid)
        except (RuntimeError, urllib3.exceptions.HTTPError) as exc:
            problems.append(f"{type(exc).__name__}: {exc}")

    threads = [threading.Thread(target=stream, args=(number,)) for number in range(READERS)]
    with peak_pss(roles_of(network.hub.pid)["web"]) as peak:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if problems:
        raise RuntimeError(f"readers failed: {problems[:3]}")
    detail = {"readers": READERS, "seconds": READING_S, "megabytes_read": round(sum(read) / 1e6)}
    bench.record("wado.readers.rss", peak.mb, detail)


def uid_of(images: Images) -> str:
    """Return the UID of the one study."""
    return study_uid_of(images.studies[0][0])


def words(images: Images) -> str:
    """Return what was sent, for the report."""
    return f"{len(images.studies[0])} instances, {images.size_bytes} bytes, {images.source}"
