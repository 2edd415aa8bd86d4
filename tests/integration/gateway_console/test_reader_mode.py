"""A gateway in reader mode offers nothing on its console that would stay there for ever: no imports, no orders."""

from __future__ import annotations

import re

import pytest

from gateway.console.app import SITE_ROUTES
from tests.integration.gateway_console.conftest import Browser, Clinic

pytestmark = pytest.mark.parametrize("clinic", ["reader"], indirect=True)


@pytest.fixture
def someone(clinic: Clinic) -> Browser:
    return clinic.logged_in()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_navigation_offers_neither_imports_nor_orders(clinic: Clinic, someone: Browser, language: str):
    someone.post("/language", language=language, next="/")
    for path in ("/studies", "/reports", "/attention", "/quarantine", "/line"):
        page = someone.get(path)
        assert page.status == 200
        assert set(re.findall(r'"(/orders|/imports)[/"]', page.text)) == set(), path
    assert {"zh": "阅片模式", "en": "reader mode"}[language] in someone.get("/studies").text


def test_their_addresses_are_none_there(clinic: Clinic, someone: Browser):
    assert {route.path.split("/")[1] for route in SITE_ROUTES} == {"orders", "imports"}
    for route in SITE_ROUTES:
        path = re.sub(r"{\w+}", "a" * 32, route.path)
        page = someone.post(path) if route.method == "POST" else someone.get(path)
        assert page.status == 404, f"{route.method} {path}"
    assert clinic.journal.read("SELECT * FROM imports") == []
