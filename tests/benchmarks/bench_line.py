"""How a study comes over a poor line: 20 and 4 Mbit/s, 80 ms round trip, stalls like 0.5 % loss, and a cut.

The line is tests/support/faulty_line.py. Plain C-STORE is DCMTK's storescu to storescp at its best, over the same line
with the same files. Our time begins with the last instance's Success at the clinic and ends with the commit at the hub;
the quiet period that the gateway waits for more images is part of it.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pydicom.filereader import dcmread

from gateway.line.streams import STREAMS_UNMEASURED
from tests.benchmarks.clinic import QUIET_PERIOD_S, Clinic, event_time, resent_after, running_clinic
from tests.benchmarks.harness import Bench, Goal, benchmark, median_ratio
from tests.benchmarks.images import Images, write_ct
from tests.benchmarks.peers import PDU_BYTES, StoreScp
from tests.support.faulty_line import TOWNSHIP_4, TOWNSHIP_20, FaultyLine, Line
from tests.support.waiting import eventually

MIB = 1024 * 1024
USE_BIN_S = 0.1
GIB_2 = 2 * 1024 * MIB
CUT_SEED = 20
WHATS = ("begun", "uploaded")


@benchmark(
    Goal("line.time", "x", at_most=0.5),
    Goal("line.use", "x", at_least=0.92),
    Goal("line.resent", "packs sent again per pack in flight", at_most=1),
)
def line_20(bench: Bench) -> None:
    """On 20 Mbit/s: time beside plain C-STORE, the use of the line, and what a cut costs."""
    with running_clinic(bench.directory, TOWNSHIP_20) as clinic:
        if bench.wants("line.time"):
            measure_time(bench, clinic, TOWNSHIP_20, "line.time", slices=24, repeats=5)
        if bench.wants("line.use"):
            measure_use(bench, clinic, "line.use", slices=240)
        if bench.wants("line.resent"):
            measure_resent(bench, clinic)


@benchmark(Goal("line.time.4", "x", at_most=0.5), Goal("line.use.4", "x", at_least=0.92))
def line_4(bench: Bench) -> None:
    """The same on 4 Mbit/s, with fewer slices."""
    with running_clinic(bench.directory, TOWNSHIP_4) as clinic:
        if bench.wants("line.time.4"):
            measure_time(bench, clinic, TOWNSHIP_4, "line.time.4", slices=6, repeats=5)
        if bench.wants("line.use.4"):
            measure_use(bench, clinic, "line.use.4", slices=60)


@benchmark(Goal("line.stat", "s", at_most=10))
def line_stat(bench: Bench) -> None:
    """Behind a routine study of 2 GB on 4 Mbit/s: seconds from a stat study's last instance to its first byte."""
    with running_clinic(bench.directory, TOWNSHIP_4) as clinic:
        large = write_large_study(bench.directory / "large")
        clinic.send(large)
        eventually(lambda: check(clinic.line.up_bytes > 2 * MIB), 240, logs=[clinic.network.gateway])
        waits = []
        for number in range(5):
            stat = write_ct(bench.directory / f"stat-{number}", bench.data, studies=1, slices=4).studies[0]
            acknowledged = clinic.send(stat[0].parent, calling="STAT")
            uid = study_uid_of(stat)
            waits.append(eventually(lambda uid=uid: begun_at(clinic, uid), 60, every_s=0.1) - acknowledged)
            clinic.wait_until_committed(uid)
        detail = {"seconds": waits, "quiet_period_s": QUIET_PERIOD_S, "line": repr(TOWNSHIP_4), "routine_bytes": GIB_2}
        bench.record("line.stat", statistics.median(waits), detail)


def measure_time(bench: Bench, clinic: Clinic, line: Line, id_: str, *, slices: int, repeats: int) -> None:
    """Compare the time of a study with that of plain C-STORE."""
    images = write_ct(bench.directory / id_, bench.data, studies=repeats + 1, slices=slices)
    study = iter(images.studies)
    bring(clinic, next(study))  # the line is measured, as it is on every day but the first

    def ours() -> float:
        files = next(study)
        acknowledged = clinic.send(files[0].parent)
        return clinic.wait_until_committed(study_uid_of(files)) - acknowledged

    scp = StoreScp(bench.directory / f"storescp-{id_}", bench.processes)
    scp.start()
    with FaultyLine(line, scp.port) as plain_line:
        seconds = bench.interleave(
            {"ours": ours, "plain": plain_store(plain_line.port, images.studies[0][0].parent)}, repeats
        )
    scp.stop()
    detail = {
        "seconds": seconds,
        "quiet_period_s": QUIET_PERIOD_S,
        "line": repr(line),
        "images": describe(images),
        "peer": f"TCP_NODELAY=1 storescu --max-pdu {PDU_BYTES} +sd; TCP_NODELAY=1 {' '.join(scp.arguments())}",
    }
    bench.record(id_, median_ratio(seconds["ours"], seconds["plain"]), detail)


def measure_use(bench: Bench, clinic: Clinic, id_: str, *, slices: int) -> None:
    """Measure which share of the line a study uses from its first pack to its last."""
    images = write_ct(bench.directory / id_, bench.data, studies=3, slices=slices)
    bring(clinic, images.studies[0])
    uses = []
    for files in images.studies[1:]:
        before, samples, over = clinic.line.up_bytes, [], threading.Event()
        watching = threading.Thread(target=watch, args=(clinic.line, samples, over))
        watching.start()
        bring(clinic, files)
        over.set()
        watching.join()
        last = samples[-1][1]
        busy = [at for at, count in samples if before + 256 * 1024 < count < last - 256 * 1024]
        uses.append(clinic.line.use(busy[0], busy[-1]))
    bench.record(id_, statistics.median(uses), {"uses": uses, "images": describe(images), "streams": streams(clinic)})


def measure_resent(bench: Bench, clinic: Clinic) -> None:
    """Cut the line at a random byte of each of five studies; count what was begun again of what was in flight."""
    images = write_ct(bench.directory / "resent", bench.data, studies=5, slices=60)
    chance = random.Random(CUT_SEED)
    figures, cuts = [], []
    for files in images.studies:
        cut_after = chance.randrange(MIB, images.size_bytes // len(images.studies) // 7)  # they come smaller
        clinic.line.cut_after(cut_after)
        bring(clinic, files)
        uid, cut_at = study_uid_of(files), clinic.line.cut_moment
        begun, uploaded = ([e for e in clinic.events(f"pack_{what}") if e["study_uid"] == uid] for what in WHATS)
        if cut_at is None or cut_at < event_time(begun[0]):
            raise RuntimeError("the study was through before its cut")
        resent = resent_after(cut_at, begun, uploaded)
        packs = len({(event["pack_sha256"], event["part"]) for event in begun})
        cuts.append({"after_bytes": cut_after, "packs": packs} | asdict(resent))
        figures.append(resent.per_stream)
        bench.say(f"  {cuts[-1]}")
    bench.record("line.resent", max(figures), {"cuts": cuts, "images": describe(images)})


def plain_store(port: int, folder: Path) -> Callable[[], float]:
    """Return what sends a folder with storescu and tells how many seconds it took."""
    command = ["storescu", "--max-pdu", str(PDU_BYTES), "-aec", "STORESCP", "+sd", "127.0.0.1", str(port), str(folder)]

    def send() -> float:
        started = time.monotonic()
        subprocess.run(command, env=os.environ | {"TCP_NODELAY": "1"}, check=True, capture_output=True, timeout=300)
        return time.monotonic() - started

    return send


def bring(clinic: Clinic, files: list[Path]) -> None:
    """Send a study and wait until it is committed."""
    clinic.send(files[0].parent)
    clinic.wait_until_committed(study_uid_of(files))


def watch(line: FaultyLine, samples: list[tuple[float, int]], over: threading.Event) -> None:
    """Note how many bytes have gone up, ten times a second."""
    while not over.wait(USE_BIN_S):
        samples.append((line.now(), line.up_bytes))


def streams(clinic: Clinic) -> int:
    """Return how many uploads at once the gateway found to fill the line."""
    changed = clinic.events("line_streams_changed")
    return int(changed[-1]["streams"]) if changed else STREAMS_UNMEASURED


def begun_at(clinic: Clinic, study_uid: str) -> float:
    """Return when the first pack of a study went on the line."""
    times = [event_time(event) for event in clinic.events("pack_begun") if event["study_uid"] == study_uid]
    check(bool(times))
    return times[0]


def study_uid_of(files: list[Path]) -> str:
    return str(dcmread(files[0], specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def write_large_study(folder: Path) -> Path:
    """Write 2 GB of CT slices of one study: one slice under many UIDs of the same length."""
    template = write_ct(folder / "template", None, studies=1, slices=1).studies[0][0]
    content = template.read_bytes()
    uid = str(dcmread(template, stop_before_pixels=True).SOPInstanceUID).encode()
    study = folder / "study"
    study.mkdir()
    for number in range(GIB_2 // len(content)):
        other = uid[:-5] + f"{number:05}".encode()
        (study / f"{number:05}.dcm").write_bytes(content.replace(uid, other))
    return study


def describe(images: Images) -> str:
    return f"{len(images.studies)} studies, {images.size_bytes} bytes, {images.source}"


def check(condition: bool) -> None:
    assert condition
