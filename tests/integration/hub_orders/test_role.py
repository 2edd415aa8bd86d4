"""`counterpart-hub serve hl7` as an operator runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from reading_queue.bootstrap import roles_of
from reading_queue.db.tables import ClinicOrder
from reading_queue.services.hub import Hub
from reading_queue.settings import HubSettings, load_settings
from storage.configuration import ConfigurationError
from tests.integration.gateway_orders.sending import EXAMPLE, message, told
from tests.integration.hub_orders.conftest import SITE
from tests.integration.hub_orders.listening import SERVER, TlsSender, fingerprint
from tests.support.certificates import Authority, Issued
from tests.support.processes import ProcessStarter

pytestmark = pytest.mark.postgres

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, authority: Authority, his_certificate: Issued) -> Write:
    """Write the configuration: keys of [hl7] as given, `None` leaves one out."""
    own = authority.issue(SERVER)

    def written(**changed: object) -> Path:
        keys = {
            "enabled": "true",
            "port": "0",
            "certificate_file": f'"{own.certificate_file}"',
            "key_file": f'"{own.key_file}"',
            "ca_file": f'"{authority.ca_file}"',
            "senders": f'{{ his = {{ site = "{SITE}", certificate_sha256 = "{fingerprint(his_certificate)}" }} }}',
        } | changed
        lines = [f"{name} = {value}" for name, value in keys.items() if value is not None]
        path = tmp_path / "hub.toml"
        path.write_text("\n".join((f'data_dir = "{tmp_path / "data"}"', "[hl7]", *lines)) + "\n", encoding="utf-8")
        return path

    return written


def serve(config: Path, database: sa.URL) -> list[str]:
    argv = [sys.executable, "-m", "reading_queue", "--config", str(config), "serve", "hl7"]
    return ["env", f"COUNTERPART_HUB_DATABASE__URL={database.render_as_string(hide_password=False)}", *argv]


def test_orders_are_taken_by_a_process_of_its_own(
    write: Write,
    hub: Hub,
    database_url: sa.URL,
    processes: ProcessStarter,
    tmp_path: Path,
    authority: Authority,
    his_certificate: Issued,
) -> None:
    process = processes.start(serve(write(), database_url), name="hl7")
    process.wait_until(lambda: "hl7_listens" in process.log())
    port = int((tmp_path / "data" / "run" / "hl7.port").read_text())
    with closing(TlsSender(port, authority.ca_file, his_certificate)) as his:
        assert told(his.send(message(*EXAMPLE))) == ("AA", [])
    with hub.transaction() as session:
        assert session.scalars(select(ClinicOrder.accession_number)).all() == ["ACC1"]
    assert (tmp_path / "data" / "run" / "hl7.heartbeat").exists()
    assert process.stop() == 0
    assert "秀兰" not in process.log()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ca_file": None}, "ca_file missing"),
        ({"certificate_file": None, "key_file": None}, "certificate_file, key_file missing"),
        ({"senders": None}, "nobody may send orders"),
        ({"senders": '{ his = { site = "s-1" } }'}, "certificate_sha256 or by certificate_name"),
        ({"senders": '{ his = { site = "s-1", certificate_sha256 = "12" } }'}, "64 hexadecimal digits"),
    ],
)
def test_the_listener_is_never_configured_without_mutual_tls(
    write: Write, changed: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_settings(write(**changed))


def test_it_does_not_start_without_its_files_or_where_it_is_off(write: Write, database_url: sa.URL) -> None:
    for config, words in (
        ({"ca_file": '"/nowhere/ca.pem"'}, "/nowhere/ca.pem cannot be read"),
        ({"enabled": "false"}, "hl7.enabled"),
    ):
        done = subprocess.run(
            serve(write(**config), database_url), capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode in (1, 2)
        assert words in done.stderr


def test_one_machine_runs_it_beside_the_other_roles_where_it_is_on(write: Write) -> None:
    assert "hl7" in roles_of(load_settings(write()))
    assert "hl7" not in roles_of(HubSettings())
