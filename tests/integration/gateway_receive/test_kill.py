"""A gateway that is killed at any moment has every instance that it acknowledged."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.journal.instances import InstanceRow, find_instance
from storage.contract.identifiers import Uid
from tests.integration.gateway_receive.instances import STUDY, instance_uid, write_slice
from tests.integration.gateway_receive.modality import association, dataset_sha256
from tests.integration.gateway_receive.receiving import ReceivingGateway
from tests.support.waiting import eventually

pytestmark = pytest.mark.services
REPOSITORY = Path(__file__).parents[3]


@contextmanager
def running_gateway(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    program = [sys.executable, "-m", "tests.integration.gateway_receive.serve", str(directory)]
    port_file = directory / "port"
    with subprocess.Popen(program, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process, eventually(lambda: read_port(port_file))
        finally:
            process.kill()


def read_port(port_file: Path) -> int:
    assert port_file.exists()
    return int(port_file.read_text())


def send_until_killed(
    port: int, paths: list[Path], process: subprocess.Popen[bytes], after: int, delay_s: float
) -> list[Path]:
    """Send the files, kill the gateway `delay_s` after the answer number `after`; return the acknowledged ones."""
    acknowledged: list[Path] = []
    with association(port, paths) as opened:
        for path in paths:
            if not opened.is_established:
                break
            answer = opened.send_c_store(path)
            if "Status" not in answer:
                break
            if answer.Status == 0x0000:
                acknowledged.append(path)
            if len(acknowledged) == after:
                threading.Timer(delay_s, process.kill).start()
    process.wait(60)
    return acknowledged


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_acknowledged_instance_is_there_after_kill_and_restart(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    paths = [write_slice(tmp_path / "sent", number, f"{STUDY}.{number % 3}") for number in range(60)]
    with running_gateway(tmp_path / "gateway") as (process, port):
        acknowledged = send_until_killed(port, paths, process, chance.randrange(1, 30), chance.choice([0, 0.01, 0.4]))
    assert acknowledged
    again = ReceivingGateway(tmp_path / "gateway").start()
    try:
        rows = [row_of(again, path) for path in acknowledged]
    finally:
        again.stop()
    assert [row.received_sha256 for row in rows] == [dataset_sha256(path) for path in acknowledged]
    assert again.rebuilt.instances_missing == 0


def row_of(gateway: ReceivingGateway, path: Path) -> InstanceRow:
    row = find_instance(gateway.journal, Uid(path.name.removesuffix(".dcm")))
    assert row is not None, f"{path.name} was acknowledged and is gone"
    file = gateway.spool.path_of(row.sop_instance_uid, row.study_uid, row.revision, row.state)
    assert dataset_sha256(file) == row.received_sha256
    return row


def test_instance_acknowledged_right_before_the_kill_is_there(tmp_path: Path) -> None:
    paths = [write_slice(tmp_path / "sent", number) for number in (1, 2)]
    with running_gateway(tmp_path / "gateway") as (process, port), association(port, paths) as opened:
        assert opened.send_c_store(paths[0]).Status == 0x0000
        process.kill()
    again = ReceivingGateway(tmp_path / "gateway").start()
    again.stop()
    assert find_instance(again.journal, Uid(instance_uid(1))) is not None
    assert again.rebuilt.associations_closed == 1
