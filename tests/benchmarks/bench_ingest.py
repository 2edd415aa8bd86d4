"""How fast instances come in: our gateway, which syncs everything before each Success, beside Orthanc and storescp.

400 CT slices of 0.5 MB in 8 studies, by 1 association (all studies one after the other) and by 8 (one study each).
Every repeat begins with empty storage on the same disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Bench, Goal, benchmark, median_ratio
from tests.benchmarks.images import Images, write_ct
from tests.benchmarks.memory import pss_mb
from tests.benchmarks.peers import Gateway, Orthanc, Receiver, StoreScp

STUDIES, SLICES = 8, 50
ROOT = Path(__file__).parents[2]


@benchmark(
    Goal("ingest.orthanc.1", "x", at_least=1.7),
    Goal("ingest.orthanc.8", "x", at_least=1.3),
    Goal("ingest.storescp.1", "x", at_least=0.4),
    Goal("ingest.storescp.8", "x", at_least=0.4),
)
def ingest(bench: Bench) -> None:
    """Compare instances per second with 1 and 8 associations."""
    images = write_ct(bench.directory / "images", bench.data, studies=STUDIES, slices=SLICES)
    for associations in (1, 8):
        ids = {kind: f"ingest.{kind.name.lower()}.{associations}" for kind in (Orthanc, StoreScp)}
        kinds = [kind for kind, id_ in ids.items() if bench.wants(id_)]
        if not kinds:
            continue
        folders = folders_of(images, bench.directory, associations)
        runs: dict[str, list[dict[str, Any]]] = {}
        rates = bench.interleave(
            {kind.name: contender(kind, bench, folders, runs.setdefault(kind.name, [])) for kind in [Gateway, *kinds]}
        )
        for kind in kinds:
            detail = {
                "instances_per_s": {name: rates[name] for name in (Gateway.name, kind.name)},
                "runs": {name: runs[name] for name in (Gateway.name, kind.name)},
                "ours": Gateway(bench.directory, bench.processes).describe(),
                "peer": describe(kind, bench),
                "images": f"{STUDIES * SLICES} instances, {images.size_bytes} bytes, {images.source}",
                "associations": associations,
            }
            bench.record(ids[kind], median_ratio(rates[Gateway.name], rates[kind.name]), detail)


def describe(kind: type[Receiver], bench: Bench) -> dict[str, Any]:
    """Return the peer's version and command line."""
    receiver = kind(bench.directory, bench.processes)
    receiver.port = 0
    return receiver.describe()


def folders_of(images: Images, directory: Path, associations: int) -> list[Path]:
    """Return one folder of files for each association: the studies' own, or one with links to all."""
    if associations == len(images.studies):
        return [study[0].parent for study in images.studies]
    together = directory / "together"
    together.mkdir()
    for number, study in enumerate(images.studies):
        for path in study:
            (together / f"{number}-{path.name}").symlink_to(path)
    return [together]


def contender(
    kind: type[Receiver], bench: Bench, folders: list[Path], runs: list[dict[str, Any]]
) -> Callable[[], float]:
    """Return what measures one run of a fresh receiver, in instances per second."""

    def run() -> float:
        name = f"{kind.__name__.lower()}-{len(folders)}-{len(runs)}"
        receiver = kind(bench.directory / name, bench.processes)
        receiver.start()
        try:
            os.sync()  # what earlier runs left to be written must not slow this one
            told = send(receiver.port, folders)
            told["receiver_pss_mb"] = round(pss_mb(receiver.process.pid), 1)
        finally:
            receiver.stop()
        runs.append(told)
        if told["problems"] or told["stored"] != STUDIES * SLICES:
            raise RuntimeError(f"{kind.name} did not take everything: {told}")
        return float(told["stored"] / told["seconds"])

    return run


def send(port: int, folders: list[Path]) -> dict[str, Any]:
    """Send the folders, an association each, from a process of its own; return what it tells."""
    argv = [sys.executable, "-m", "tests.benchmarks.sender", "--port", str(port), *map(str, folders)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    return dict(json.loads(done.stdout))
