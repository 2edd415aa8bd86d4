"""Numbers that the catalogue invents stay inside it."""

from __future__ import annotations

import pytest

from storage.catalogue.patient_numbers import invent_number, shown_number


def test_invented_number_is_the_studys_own_and_never_shown() -> None:
    assert invent_number("1.2.3") == invent_number("1.2.3") != invent_number("1.2.4")
    assert shown_number(invent_number("1.2.3")) == ""


@pytest.mark.parametrize("number", ["P1", "?", "?1234", "?0123456789abcdef0", "？0123456789abcdef", ""])
def test_number_of_a_site_is_shown_as_it_is(number: str) -> None:
    assert shown_number(number) == number
