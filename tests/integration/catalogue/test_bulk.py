"""A whole study comes into the catalogue at once, or not at all."""

from __future__ import annotations

import itertools
import time

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from storage.catalogue.indexing import InstanceConflict, index_packs
from storage.catalogue.tables import Instance, Pack, Series, Study
from storage.ledger.tables import Site
from tests.integration.catalogue.studies import NOW, PATIENT, SERIES, make_packs, study_facts
from tests.support.waiting import keeps

pytestmark = pytest.mark.postgres

SITE = "qinghe-t01"
INSTANCES, PACKS = 2000, 30


@pytest.fixture(autouse=True)
def _site(database: sa.Engine) -> None:
    with Session(database) as session, session.begin():
        session.add(Site(site_id=SITE, name="x", created_at=NOW))


def index(session: Session, study_uid: str, *, instances: int = INSTANCES, packs: int = PACKS) -> Study:
    return index_packs(
        session,
        site_id=SITE,
        patient=PATIENT,
        study=study_facts(study_uid),
        packs=make_packs(study_uid, instances=instances, packs=packs),
        now=NOW,
    )


def rows_of(database: sa.Engine, table: type[Instance | Pack | Series | Study]) -> int:
    with Session(database) as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def test_two_thousand_instances_are_catalogued_in_one_transaction_within_a_second(database: sa.Engine) -> None:
    numbers = itertools.count()

    def took_s() -> float:
        number = next(numbers)
        started = time.monotonic()
        with Session(database) as session, session.begin():
            study = index(session, f"1.2.{number}")
            assert rows_of(database, Instance) == number * INSTANCES, "nothing is seen before all of it"
            counts = (study.instance_count, study.series_count, study.modalities)
        took = time.monotonic() - started
        assert counts == (INSTANCES, SERIES, ["CT"])
        assert rows_of(database, Instance) == (number + 1) * INSTANCES
        assert rows_of(database, Pack) == (number + 1) * PACKS
        return took

    keeps(1, took_s, in_a_row=1)


def test_packs_indexed_again_change_nothing(database: sa.Engine) -> None:
    for packs in (3, 3, 1):
        with Session(database) as session, session.begin():
            study = index(session, "1.2.3", instances=12, packs=packs)
            assert study.instance_count == 12
            assert study.size_bytes == 12 * 250_000
    assert rows_of(database, Instance) == 12


def test_one_instance_of_another_study_keeps_all_of_them_out(database: sa.Engine) -> None:
    with Session(database) as session, session.begin():
        index(session, "1.2.3", instances=4, packs=1)
    taken = make_packs("1.2.3", instances=4, packs=1)
    fresh = make_packs("1.2.4", instances=4, packs=2)
    with pytest.raises(InstanceConflict), Session(database) as session, session.begin():
        index_packs(session, site_id=SITE, patient=PATIENT, study=study_facts("1.2.4"), packs=[*fresh, *taken], now=NOW)
    assert rows_of(database, Instance) == 4
    assert rows_of(database, Study) == 1
