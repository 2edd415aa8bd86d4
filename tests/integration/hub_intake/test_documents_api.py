"""Documents leave for their own site only, as soon as they are there."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest
from sqlalchemy import select, text

from reading_queue.db.tables import Document
from reading_queue.services.hub import Hub
from storage.contract.wire import DocumentPage
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn

pytestmark = pytest.mark.postgres

BYTES = b"%PDF-1.7 a report" * 1000


def add_document(hub: Hub, name: str, now: datetime) -> None:
    """Put a document on its way home, as rendering does; the report it belongs to plays no part here."""
    key = f"documents/case/1/{name}"
    hub.objects.put(key, BYTES, len(BYTES))
    with hub.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.add(
            Document(
                document_id=name,
                report_id="report",
                case_id="case",
                site_id=SITE,
                kind=name,
                media_type="application/pdf",
                object_key=key,
                sha256="0" * 64,
                size_bytes=len(BYTES),
                created_at=now,
                canonical="{}",
                hub_key_id="key",
                signature="signature",
            )
        )
        session.execute(text("SELECT pg_notify('documents', :site)"), {"site": SITE})


def fetch(gateway: GatewayStandIn, after: int, wait_s: int) -> DocumentPage:
    return gateway.get(f"/documents?after={after}&wait_s={wait_s}").into(DocumentPage)


def test_page_is_empty_when_there_is_nothing(gateway: GatewayStandIn) -> None:
    assert fetch(gateway, 0, 0).documents == ()


def test_documents_come_in_order_behind_the_cursor(gateway: GatewayStandIn, network: Hub) -> None:
    add_document(network, "sr", network.clock())
    add_document(network, "pdf", network.clock())
    both = fetch(gateway, 0, 0).documents
    assert len(both) == 2
    assert fetch(gateway, both[0].cursor, 0).documents == both[1:]


def test_long_poll_ends_as_soon_as_a_document_is_there(gateway: GatewayStandIn, network: Hub) -> None:
    pages: list[DocumentPage] = []
    waiting = threading.Thread(target=lambda: pages.append(fetch(gateway, 0, 50)))
    waiting.start()
    add_document(network, "pdf", network.clock())
    waiting.join(60)
    assert [len(page.documents) for page in pages] == [1]


def test_document_of_another_site_is_not_there(other_gateway: GatewayStandIn, network: Hub) -> None:
    add_document(network, "pdf", network.clock())
    assert fetch(other_gateway, 0, 0).documents == ()
    assert other_gateway.get("/documents/pdf/content").problem().status == 404


def test_content_is_the_documents_bytes(gateway: GatewayStandIn, network: Hub) -> None:
    add_document(network, "pdf", network.clock())
    with network.transaction() as session:
        document_id = session.scalars(select(Document.document_id)).one()
    reply = gateway.get(f"/documents/{document_id}/content")
    assert (reply.status, reply.headers["Content-Type"], reply.body) == (200, "application/pdf", BYTES)


def test_content_that_the_store_lost_is_a_problem_in_words(gateway: GatewayStandIn, network: Hub) -> None:
    add_document(network, "pdf", network.clock())
    network.objects.delete("documents/case/1/pdf")
    reply = gateway.get("/documents/pdf/content")
    assert (reply.status, reply.problem().code) == (404, "object_missing")


@pytest.mark.parametrize("query", ["after=-1&wait_s=0", "after=x&wait_s=0", "after=0&wait_s=1e9"])
def test_query_that_is_no_number_is_refused(gateway: GatewayStandIn, query: str) -> None:
    assert gateway.get(f"/documents?{query}").problem().status == 422
