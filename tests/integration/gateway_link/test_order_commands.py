"""Orders on the command line of a gateway that serves, offline, until they are on a scanner's worklist."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from gateway.commands.ordering import NOT_TYPED
from gateway.journal.database import JOURNAL_NAME, Journal
from tests.integration.gateway_link.test_process import GatewayProcess
from tests.integration.gateway_receive.modality import dcmtk

pytestmark = pytest.mark.services

TYPED = {"patient_number": "P1", "patient_name": "张三", "modality": "CT", "procedure_name": "头颅CT平扫"}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that was enrolled once and whose hub cannot be reached now."""
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'spool_dir = "{tmp_path / "spool"}"\nport_file = "{tmp_path / "port"}"\n'
        '[hub]\nurl = "http://127.0.0.1:1"\n'
        '[dicom]\nhost = "127.0.0.1"\nport = 0\nallowed_calling_ae_titles = ["CT1"]\ndisk_floor_bytes = 0\n'
        "[console]\nenabled = false\n",
        encoding="utf-8",
    )
    process = GatewayProcess(tmp_path, config)
    yield process
    process.stop(signal.SIGKILL)


def enrol(gateway: GatewayProcess) -> None:
    (gateway.directory / "spool").mkdir(exist_ok=True)
    with Journal(gateway.directory / "spool" / JOURNAL_NAME).transaction() as connection:
        connection.execute(
            "INSERT INTO identity (one, gateway_id, site_id, site_name, audience, hub_key_id, hub_public_key,"
            " enrolled_at) VALUES (1, 'gw-1', 'qinghe-t01', 'Site', 'hub', 'k', 'p', '2026-01-01T00:00:00+00:00')"
        )


def add(gateway: GatewayProcess, fields: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "--config", str(gateway.config), "order", "add", "-"]
    text = fields if isinstance(fields, str) else json.dumps(fields)
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)


def worklist(port: int, directory: Path) -> list[str]:
    directory.mkdir()
    arguments = ("-W", "-aet", "CT1", "-X", "-od", str(directory), "-k", "AccessionNumber", "-k", "PatientName")
    done = dcmtk("findscu", *arguments, "127.0.0.1", str(port))
    assert done.returncode == 0, done.stderr
    return sorted(dcmread(path, force=True).AccessionNumber for path in directory.glob("rsp*.dcm"))


def test_order_is_on_the_worklist_at_once_until_it_is_cancelled_also_after_a_kill(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    enrol(gateway)
    port = gateway.start()
    added = add(gateway, TYPED)
    assert added.returncode == 0, added.stderr
    number = added.stdout.strip()
    assert "question" in added.stderr
    assert worklist(port, tmp_path / "first") == [number]
    gateway.stop(signal.SIGKILL)
    port = gateway.start()
    assert worklist(port, tmp_path / "second") == [number]
    listed = gateway.run("order", "list")
    assert number in listed.stdout
    assert "张三" in listed.stdout
    assert json.loads(gateway.run("order", "list", "--json").stdout)["patient_name"] == "张三"
    assert gateway.run("order", "cancel", number, "--reason", "no show").returncode == 0
    assert worklist(port, tmp_path / "third") == []
    again = gateway.run("order", "cancel", number, "--reason", "no show")
    assert (again.returncode, "cancelled before" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (TYPED | {"modality": "KO"}, "modality: this is no modality"),
        (TYPED | {"identity_kind": "resident", "identity_number": "110105194912310021"}, "does not prove it"),
        (TYPED | {"procedure_name": "x" * 65}, "procedure_name"),
        (TYPED | {"sex": "M", "pregnancy": "yes"}, "a male patient"),
        (TYPED | {"state": "done"}, "not for typing: state"),
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        (TYPED | {"张三": "born in 1960"}, "Fields that an order does not have: 1"),
    ],
)
def test_order_that_breaks_a_rule_is_refused_in_words_that_quote_nothing(
    gateway: GatewayProcess, fields: Any, words: str
) -> None:
    enrol(gateway)
    refused = add(gateway, fields)
    assert refused.returncode == 1
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "张三" not in refused.stderr
    assert "110105194912310021" not in refused.stderr


def test_order_before_enrolment_is_refused_with_the_remedy(gateway: GatewayProcess) -> None:
    refused = add(gateway, TYPED)
    assert (refused.returncode, "run `enrol` first" in refused.stderr) == (1, True)


def test_fields_that_are_listed_are_those_that_may_be_typed(gateway: GatewayProcess) -> None:
    command = [sys.executable, "-m", "gateway", "--config", str(gateway.config), "order", "fields"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    told = dict(line.split(maxsplit=1) for line in listed)
    assert TYPED.keys() <= told.keys()
    assert not NOT_TYPED & told.keys()
    assert told["lane"] == "one of: stat, urgent, routine, background"
    assert told["birth_date"].startswith("a day")
