"""What a 2 GB multi-frame costs in memory: received, compressed, cut into parts, uploaded, proved by a real hub.

An ultrasound loop of RGB frames, written as it is made. All processes are real: sender, gateway, hub with its web,
worker and object store.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import _config

from storage.contract.hops import Hop
from tests.benchmarks.harness import Bench, Goal, benchmark
from tests.benchmarks.memory import PROC, Peak, peak_pss, tree_of
from tests.support.network import running_network

ULTRASOUND_LOOP = "1.2.840.10008.5.1.4.1.1.3.1"
ROWS, COLUMNS, FRAMES = 480, 640, 2330
FRAME_BYTES = ROWS * COLUMNS * 3
ROLES = ("web", "worker", "scheduler")
WITHIN_S = 600.0


@benchmark(Goal("large.rss", "MB", at_most=300))
def large(bench: Bench) -> None:
    """Send one instance through everything and take the highest memory of the gateway's processes."""
    path = bench.directory / "loop.dcm"
    study_uid = write_loop(path)
    _config.STORE_SEND_CHUNKED_DATASET = True
    with running_network(bench.directory / "network") as network, ExitStack() as stack:
        gateway = stack.enter_context(peak_pss(network.gateway.pid))
        roles = {role: stack.enter_context(peak_pss(pid)) for role, pid in roles_of(network.hub.pid).items()}
        started = time.monotonic()
        network.send([path])
        received_s = time.monotonic() - started
        at_receipt_mb = gateway.mb
        network.wait_for(study_uid, Hop.CATALOGUED, within_s=WITHIN_S)
        catalogued_s = time.monotonic() - started
        detail = {
            "size_bytes": path.stat().st_size,
            "frames": FRAMES,
            "seconds_to_received": round(received_s, 1),
            "seconds_to_catalogued": round(catalogued_s, 1),
            "gateway_mb_until_received": round(at_receipt_mb, 1),
            "hub_mb": {role: round(peak.mb, 1) for role, peak in roles.items()},
        }
        bench.record("large.rss", peak_of(gateway), detail)


def peak_of(peak: Peak) -> float:
    """Return the largest memory seen so far, in MB."""
    return peak.mb


def roles_of(hub_pid: int) -> dict[str, int]:
    """Return the process of each role of a hub."""
    found: dict[str, int] = {}
    for pid in tree_of(hub_pid):
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        for role in ROLES:
            if role.encode() in words:
                found.setdefault(role, pid)
    return found


def write_loop(path: Path) -> str:
    """Write the instance frame by frame and return its study's UID."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = ULTRASOUND_LOOP, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName, dataset.Modality = "BENCH", "Phantom", "US"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = ROWS, COLUMNS, FRAMES
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = ULTRASOUND_LOOP
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dcmwrite(path, dataset, enforce_file_format=True)
    noise = np.random.default_rng(2).integers(0, 24, (ROWS, COLUMNS), dtype=np.uint8)
    slope = np.linspace(0, 200, COLUMNS, dtype=np.uint8)[None, :]
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x10\x00OB\0\0" + (FRAMES * FRAME_BYTES).to_bytes(4, "little"))
        for number in range(FRAMES):
            grey = np.roll(noise, number, axis=1) + slope
            file.write(np.repeat(grey[:, :, None], 3, axis=2).tobytes())
    return str(dataset.StudyInstanceUID)
