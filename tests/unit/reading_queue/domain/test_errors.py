"""The tree of refusals as its own docstring draws it."""

from __future__ import annotations

import re

from reading_queue import errors


def tree(root: type[errors.HubError]) -> list[type[errors.HubError]]:
    return [root, *(found for child in root.__subclasses__() for found in tree(child))]


def test_the_drawing_names_every_refusal_in_order_and_its_status():
    drawn = re.findall(r"^    [│├└─ ]*(\w+)(?: +(\d+))?$", errors.__doc__ or "", re.MULTILINE)
    own = [error for error in tree(errors.HubError) if error.__module__ == errors.__name__]
    assert [name for name, _ in drawn] == [error.__name__ for error in own]
    statuses = {name: int(status) for name, status in drawn if status}
    for error in own[1:]:
        family = next(name for name in (parent.__name__ for parent in error.__mro__) if name in statuses)
        assert error.status == statuses[family]


def test_every_refusal_has_its_own_code_and_words():
    own = [error for error in tree(errors.HubError) if error.__module__ == errors.__name__]
    assert len({error.code for error in own}) == len(own)
    plain = [error for error in own if error not in (errors.TextNotAcceptable, errors.ConfirmationNeeded)]
    assert all(error().detail == (error.__doc__ or "").strip() for error in plain)
    assert errors.Forbidden("in words").detail == "in words"
    assert errors.TextNotAcceptable(("a", "b")).detail == "a; b"
