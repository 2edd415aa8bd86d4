"""`counterpart-hub storage amend` as an operator runs it: real processes on a real database and object store."""

from __future__ import annotations

import pytest

from reading_queue.domain.roles import Role
from reading_queue.services.access.accounts import NewAccount, create_account
from tests.integration.hub_amending.amending import FANG, NA, World, facts
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_keeping.test_commands import Storage, storage

__all__ = ["storage"]

pytestmark = pytest.mark.postgres

WHO = ("--reason", "wrong entry chosen", "--as", "coordinator")
PASSWORD = "a long password"


def test_person_merges_moves_rejects_withdraws_and_sees_all_of_it(world: World, storage: Storage) -> None:
    create_account(world.hub, NewAccount("coordinator", "c", PASSWORD, Role.COORDINATOR, f"{SITE}-01", "en"))
    one = world.arrive(1, FANG)
    world.arrive(2, NA)

    def amend(*words: str) -> str:
        done = storage("amend", *words, password=PASSWORD)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert storage("amend", "move", SITE, one, "P-0002", *WHO, password="another").returncode == 1
    assert storage("amend", "move", SITE, one, "P-0002", "--as", "coordinator", password=PASSWORD).returncode == 2
    moved = amend("move", SITE, one, "P-0002", *WHO)
    assert world.shown(one) == facts(NA)
    rejected = amend("reject", SITE, one, "--code", "113001", "--instance", f"{one}.9.1", *WHO)
    assert world.study(one).instance_count == 2
    back = amend("withdraw", moved, *WHO)
    merged = amend("merge", SITE, "P-0001", "P-0002", *WHO)
    listed = amend("list", SITE, "--as", "coordinator").splitlines()
    assert [line.split()[2] for line in listed] == [merged, back, rejected, moved]
    assert ["withdrawn" in line for line in listed] == [False, False, False, True]
    assert "113001" in listed[2]
    of_study = amend("list", SITE, "--study", one, "--as", "coordinator").splitlines()
    assert [line.split()[2] for line in of_study] == [back, rejected, moved]
    refused = storage("amend", "settle", SITE, "P-0001", "--keep", "held", *WHO, password=PASSWORD)
    assert (refused.returncode, "nothing contradicts" in refused.stderr) == (1, True)
