"""What looking for links costs does not depend on how many patients there are: nothing is read from end to end."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Select, event

from reading_queue.services.hub import Hub
from reading_queue.services.patients import link_desk, linking
from reading_queue.services.patients.link_asking import ask_for_number
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_linking.patients import Clinic, links_of, record_of, resident_id
from tests.support.plans import read_whole

pytestmark = pytest.mark.postgres


@pytest.fixture
def asked(network: Hub) -> list[Select[Any]]:
    """Every query that is made from now on."""
    queries: list[Select[Any]] = []

    def note(_connection: object, query: object, *_: object) -> None:
        if isinstance(query, Select) and ":pk_1" not in str(query):  # that is one row by its primary key
            queries.append(query)

    event.listen(network.engine, "before_execute", note)
    return queries


def test_link_is_looked_for_by_keys_alone(
    network: Hub, qinghe: Clinic, baishan: Clinic, asked: list[Select[Any]]
) -> None:
    number = resident_id()
    qinghe.order(identity_kind="resident", identity_number=number, link=False)
    for clinic in (qinghe, baishan):
        clinic.study(OtherPatientIDs=number, link=False)
    records = [record_of(network, site).patient_id for site in (SITE, OTHER_SITE)]
    asked.clear()
    for patient_id in records:
        linking.link(network, patient_id)
    looked = list(asked)
    assert len(links_of(network)) == 1
    assert 10 < len(looked) < 60
    assert {table for query in looked for table in read_whole(network, query)} == set()


def test_order_and_desk_look_by_keys_alone(network: Hub, qinghe: Clinic, asked: list[Select[Any]]) -> None:
    qinghe.study()
    asked.clear()
    with network.transaction() as session:
        ask_for_number(session, network.clock(), SITE, "P-0001")
    link_desk.record_links(network)
    link_desk.search_links(network, qinghe.coordinator(), "wang")
    of_links = [query for query in asked if "patient" in str(query) or "studies" in str(query)]
    assert of_links
    assert {table for query in of_links for table in read_whole(network, query)} == set()
