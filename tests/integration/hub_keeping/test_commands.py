"""`counterpart-hub storage` as an operator runs it: real processes on a real database and object store."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from reading_queue.db.schema import upgrade
from reading_queue.domain.roles import Role
from reading_queue.services.access.accounts import NewAccount, create_account
from reading_queue.services.hub import Hub
from storage.catalogue.tables import Instance
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.studies import STUDY
from tests.integration.hub_keeping.keeping import Sender, packs_of, sweep

pytestmark = pytest.mark.postgres

Storage = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def storage(tmp_path: Path, database_url: sa.URL) -> Storage:
    """Run `counterpart-hub storage …` on the test's database, or on another one."""

    def run(*words: str, database: sa.URL | None = None, password: str = "") -> subprocess.CompletedProcess[str]:
        address = (database or database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        config = tmp_path / "hub.toml"
        config.write_text(
            f'data_dir = "{tmp_path}"\n[database]\nurl = "{address}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n'
        )
        argv = [sys.executable, "-m", "reading_queue", "--config", str(config), "storage", *words]
        typed = f"{password}\n"
        return subprocess.run(argv, input=typed, capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.fixture
def kept(network: Hub, gateway: GatewayStandIn) -> Hub:
    """A hub that keeps one study of two packs."""
    sender = Sender(gateway, network)
    slices = sender.slices(range(1, 5))
    sender.send(slices[:2], slices[2:])
    sweep(network)
    return network


def test_verify_says_that_all_is_well_or_what_is_not(kept: Hub, storage: Storage, tmp_path: Path) -> None:
    done = storage("verify")
    assert (done.returncode, done.stdout) == (0, "2 packs, 7 objects looked at, 0 faults\n")
    first, second = packs_of(kept)
    kept.objects.delete(first.object_key)
    file = tmp_path / "objects" / second.object_key
    data = bytearray(file.read_bytes())
    with kept.transaction() as session:
        instance = session.scalars(sa.select(Instance).where(Instance.pack_id == second.pack_id).limit(1)).one()
    data[instance.offset_bytes + instance.size_bytes - 20] ^= 1
    file.write_bytes(data)
    stranger = f"studies/{SITE}/{STUDY}/packs/{'0' * 64}.tar"
    kept.objects.put(stranger, b"x", 1)
    kept.objects.delete(first.headers_key)
    kept.objects.put(second.object_key.replace(".tar", ".record.json"), b"x", 1)
    done = storage("verify", "--study", STUDY, "--json")
    assert done.returncode == 1
    found = {(fault["code"], fault["key"]) for fault in map(json.loads, done.stdout.splitlines())}
    assert found == {
        ("missing", first.object_key),
        ("headers_missing", first.headers_key),
        ("record_differs", second.object_key.replace(".tar", ".record.json")),
        ("unknown", stranger),
    }
    done = storage("verify", "--deep")
    assert done.returncode == 1
    assert f"! {second.object_key}: was found damaged" in done.stdout
    assert storage("verify", "--study", "1.2.3").returncode == 0


def test_rebuild_fills_an_empty_database_and_proves_it_equal(
    kept: Hub, storage: Storage, empty_database: sa.Engine, database_url: sa.URL
) -> None:
    upgrade(empty_database)
    lost = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    done = storage("rebuild", "--compare-with", lost, database=empty_database.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 studies in 2 packs; 0 problems\nthe two catalogues are equal\n"
    digests = storage("digest"), storage("digest", database=empty_database.url)
    assert digests[0].stdout == digests[1].stdout
    assert "patient 1, study 1, series 2, pack 2, instance 4" in digests[0].stdout
    with empty_database.begin() as connection:
        connection.execute(sa.text("UPDATE patients SET name = 'X'"))
        connection.execute(sa.text("DELETE FROM rebuild_steps"))
    again = storage("rebuild", database=empty_database.url)
    assert (again.returncode, "The catalogue holds studies" in again.stderr) == (1, True)
    assert storage("digest").stdout != storage("digest", database=empty_database.url).stdout


def test_difference_is_shown_without_naming_the_patient(
    kept: Hub, storage: Storage, empty_database: sa.Engine, database_url: sa.URL
) -> None:
    upgrade(empty_database)
    with kept.transaction() as session:
        session.execute(sa.text("UPDATE patients SET name = 'X'"))
    lost = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    done = storage("rebuild", "--compare-with", lost, database=empty_database.url)
    assert done.returncode == 1
    assert f"! patient {SITE} differs\n1 differences\n" in done.stdout
    assert "P-0001" not in done.stdout


def test_retention_is_done_by_somebody_who_has_a_right_and_gives_a_password(kept: Hub, storage: Storage) -> None:
    for login, role in (("coordinator", Role.COORDINATOR), ("technician", Role.TECHNICIAN)):
        create_account(kept, NewAccount(login, login, "a long password", role, f"{SITE}-01", "en"))
    why = ("--reason", "a court asks for it")
    refused = storage("retention", "hold", SITE, STUDY, *why, "--as", "coordinator", password="another one")
    assert (refused.returncode, "password is wrong" in refused.stderr) == (1, True)
    refused = storage("retention", "hold", SITE, STUDY, *why, "--as", "technician", password="a long password")
    assert refused.returncode == 1
    held = storage("retention", "hold", SITE, STUDY, *why, "--as", "coordinator", password="a long password")
    assert held.returncode == 0, held.stderr
    asked = ("retention", "request", SITE, STUDY, "--reason", "its time is over", "--as", "coordinator")
    refused = storage(*asked, password="a long password")
    assert (refused.returncode, "held" in refused.stderr) == (1, True)
    release = ("retention", "release", held.stdout.strip(), "--as", "coordinator")
    assert storage(*release, password="a long password").stdout == "released\n"
    refused = storage(*asked, password="a long password")
    assert refused.returncode == 1
    assert "being read" in refused.stderr
    assert storage("retention", "list", "--as", "coordinator", password="a long password").stdout == ""


def test_export_writes_a_file_set_and_names_what_is_damaged(kept: Hub, storage: Storage, tmp_path: Path) -> None:
    create_account(kept, NewAccount("coordinator", "c", "a long password", Role.COORDINATOR, f"{SITE}-01", "en"))

    def export(target: str, *more: str) -> subprocess.CompletedProcess[str]:
        why = ("--reason", "a court asks for it", "--as", "coordinator", *more)
        return storage("export", SITE, STUDY, str(tmp_path / target), *why, password="a long password")

    done = export("out", "--reports")
    assert (done.returncode, done.stdout) == (0, "4 of 4 instances exported\n"), done.stderr
    assert (tmp_path / "out" / "DICOMDIR").is_file()
    assert export("out").returncode == 1
    refused = export("other", "--transfer-syntax", "1.2.3")
    assert (refused.returncode, "--transfer-syntax is one of" in refused.stderr) == (1, True)
    kept.objects.delete(packs_of(kept)[0].object_key)
    done = export("out.zip")
    assert (done.returncode, done.stdout.count("its bytes are missing")) == (1, 2), done.stderr
    assert done.stdout.endswith("2 of 4 instances exported\n")
    assert (tmp_path / "out.zip").is_file()
