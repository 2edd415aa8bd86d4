"""`counterpart-hub links` as a coordinator and an operator use it: a real process on a real database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from reading_queue.db.tables import Organisation
from reading_queue.domain.roles import Role
from reading_queue.services.access.accounts import NewAccount, create_account
from reading_queue.services.hub import Hub
from storage.catalogue.link_tables import PatientMatching
from tests.integration.hub_linking.patients import Clinic, links_of, resident_id, states_of

pytestmark = pytest.mark.postgres

PASSWORD = "a long password"
WHO = ("--as", "li")
Links = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def links(network: Hub, tmp_path: Path, database_url: sa.URL) -> Links:
    """Run `counterpart-hub links …` with the password of li, who oversees both sites."""
    with network.transaction() as session:
        session.add(Organisation(organisation_id="county", kind="county", name="county"))
        session.flush()
        session.execute(sa.update(Organisation).where(Organisation.kind == "township").values(parent_id="county"))
    create_account(network, NewAccount("li", "Li Ming", PASSWORD, Role.COORDINATOR, "county", "en"))
    address = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    config = tmp_path / "hub.toml"
    config.write_text(
        f'data_dir = "{tmp_path}"\n[database]\nurl = "{address}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n'
    )

    def run(*words: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "reading_queue", "--config", str(config), "links", *words]
        return subprocess.run(argv, input=f"{password}\n", capture_output=True, text=True, check=False, timeout=60)

    return run


def test_links_are_listed_decided_and_undone_by_somebody_with_a_reason(
    network: Hub, qinghe: Clinic, baishan: Clinic, links: Links
) -> None:
    number = resident_id()
    qinghe.study()
    baishan.study(OtherPatientIDs=number, PatientName="WANG^FANG")
    (link,) = links_of(network)
    shown = links("list", *WHO)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines() == [
        f"{link.link_id}  name similar, national_id unknown",
        "    baishan  P-0001  WANG^FANG  1980-02-29  F  studies 1",
        "    qinghe  P-0001  王^芳  1980-02-29  F  studies 1",
        "suggested 1, linked 0, refused 0",
    ]
    assert links("accept", link.link_id, "--reason", "both were asked", *WHO).stdout == "linked\n"
    assert "accept by Li Ming at 2" in links("list", "--state", "linked", *WHO).stdout
    assert links("undo", link.link_id, "--reason", "a mistake", *WHO).stdout == "suggested\n"
    assert links("refuse", link.link_id, "--reason", "two women", *WHO).stdout == "refused\n"
    refused = links("accept", link.link_id, "--reason", "after all", *WHO)
    assert (refused.returncode, "changed meanwhile" in refused.stderr) == (1, True)
    refused = links("undo", link.link_id, "--reason", "after all", *WHO, password="wrong password")
    assert (refused.returncode, "password is wrong" in refused.stderr) == (1, True)
    assert states_of(network) == ["refused"]
    assert number not in shown.stdout


def test_recompute_asks_for_every_record_anew(network: Hub, qinghe: Clinic, links: Links) -> None:
    qinghe.study()
    assert links("recompute").stdout.startswith("1 patient records will be looked at anew")
    with network.transaction() as session:
        row = session.scalars(sa.select(PatientMatching)).one()
    assert row.asked == row.done + 1
