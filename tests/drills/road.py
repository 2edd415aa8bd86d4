"""The road drill: the whole demonstration while gateways, the hub's web and its workers are killed at random moments.

What is checked afterwards is read from the outside only: the demonstration's exit status and timeline, the tar archives
in the hub's object store, and the files in the clinics' PACS.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom

from storage.dicom.transcoding import is_compressed_here, prove_restorable

ROOT = Path(__file__).parents[2]
PIXEL_FREE_TAGS = ["StudyInstanceUID", "Modality"]
VICTIMS = ("gateway", "web", "worker")
KILLS = (3, 7)  # at least, at most
KILLING_ENDS_AFTER_S = 40.0
DRILL_ENDS_AFTER_S = 300.0


@dataclass(slots=True)
class Drill:
    """One run: its seed, what was killed when, and what was found wrong."""

    seed: int
    folder: Path
    kills: list[tuple[float, str, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0

    def run(self) -> Drill:
        """Run the demonstration to its end with kills under way, then check what it left."""
        started = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        demonstration = str(ROOT / "deploy/demo/run.py")
        command = [sys.executable, demonstration, "--once", "--port", "0", "--data", str(self.folder)]
        with (self.folder / "drill.log").open("wb") as log:
            demo = subprocess.Popen(
                [*command, "--json", str(self.folder / "timeline.json")],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        ended = threading.Event()
        killer = threading.Thread(target=self._kill_at_random_moments, args=(ended,))
        killer.start()
        try:
            status = demo.wait(DRILL_ENDS_AFTER_S)
        except subprocess.TimeoutExpired:
            demo.send_signal(signal.SIGTERM)
            status = demo.wait(60)
            self.problems.append(f"did not end within {DRILL_ENDS_AFTER_S:.0f} s")
        ended.set()
        killer.join()
        self.elapsed_s = time.monotonic() - started
        if status != 0:
            tail = (self.folder / "drill.log").read_text(errors="replace")[-1500:]
            self.problems.append(f"exit status {status}:\n{tail}")
        self.problems += [*unfinished_studies(self.folder), *lost_instances(self.folder), *wrong_reports(self.folder)]
        return self

    def _kill_at_random_moments(self, ended: threading.Event) -> None:
        """Kill from when both gateways are enrolled: before that there is nothing to lose."""
        chance = random.Random(self.seed)
        sending = self.folder / "demo.json"
        while not sending.exists():
            if ended.wait(0.05):
                return
        begun = time.monotonic()
        moments = sorted(chance.uniform(0, KILLING_ENDS_AFTER_S) for _ in range(chance.randint(*KILLS)))
        # Most of the road is walked in the first seconds: half of the kills happen there.
        moments = sorted(moment / 5 if index % 2 else moment for index, moment in enumerate(moments))
        for moment in moments:
            if ended.wait(max(0.0, begun + moment - time.monotonic())):
                return
            victim = chance.choice(VICTIMS)
            pids = sorted(find_victims(self.folder, victim))
            if pids:
                pid = chance.choice(pids)
                os.kill(pid, signal.SIGKILL)
                self.kills.append((round(time.monotonic() - begun, 1), victim, pid))


def find_victims(folder: Path, kind: str) -> Iterator[int]:
    """Yield the processes of this demonstration that play `kind`; a worker's children among them."""
    words = {"gateway": ["counterpart-gateway", "serve"], "web": ["serve", "web"], "worker": ["serve", "worker"]}[kind]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        line = " ".join(command)
        if (
            str(folder) in line
            and all(any(word in part for part in command) for word in words)
            and "setpriv" not in line
        ):
            yield int(entry.name)


def unfinished_studies(folder: Path) -> list[str]:
    """Name each study whose report is not home, by the timeline."""
    path = folder / "timeline.json"
    if not path.exists():
        return ["no timeline was written"]
    studies = json.loads(path.read_text(encoding="utf-8"))["studies"]
    return [f"not home: {study['study_uid']}" for study in studies if not study["home"]]


def lost_instances(folder: Path) -> list[str]:
    """Compare what the scanners sent with the archives in the object store, dataset byte for dataset byte."""
    held: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pack in sorted((folder / "hub" / "objects" / "studies").glob("*/*/packs/*.tar")):
        site = pack.parents[2].name
        with tarfile.open(pack) as archive:
            for member in archive:
                if member.name.endswith(".dcm"):
                    content = archive.extractfile(member)
                    assert content is not None
                    held[site, member.name.removesuffix(".dcm")].add(dataset_sha256(content.read()))
    problems = []
    for study in json.loads((folder / "demo.json").read_text(encoding="utf-8"))["studies"]:
        for file in study["files"]:
            data = Path(file).read_bytes()
            uid = pydicom.dcmread(io.BytesIO(data), specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
            found = held[study["site"], str(uid.SOPInstanceUID)]
            if found != {dataset_sha256(data)}:
                problems.append(f"{uid.SOPInstanceUID}: sent once, {len(found)} versions held, or with other bytes")
    return problems


def dataset_sha256(part10: bytes) -> str:
    """Return the digest of the dataset as it was received: what follows the file meta group (PS3.10 section 7.1)."""
    file = io.BytesIO(part10)
    if is_compressed_here(file):
        return prove_restorable(file).received_sha256
    file.seek(0)
    pydicom.filereader.read_preamble(file, force=False)
    pydicom.filereader._read_file_meta_info(file)
    return hashlib.sha256(part10[file.tell() :]).hexdigest()


def wrong_reports(folder: Path) -> list[str]:
    """Return a problem for each study that has not exactly one SR and one PDF in its clinic's PACS."""
    received: Counter[tuple[str, str, str]] = Counter()
    for file in (folder / "pacs").glob("*/*.dcm"):
        header = pydicom.dcmread(file, specific_tags=PIXEL_FREE_TAGS, stop_before_pixels=True)
        received[file.parent.name, str(header.StudyInstanceUID), str(header.Modality)] += 1
    problems = []
    for study in json.loads((folder / "demo.json").read_text(encoding="utf-8"))["studies"]:
        for modality in ("SR", "DOC"):
            count = received[study["site"], study["study_uid"], modality]
            if count != 1:
                problems.append(f"{study['study_uid']}: {count} documents of modality {modality} in the PACS, not one")
    return problems
