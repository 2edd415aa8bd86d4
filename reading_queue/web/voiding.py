"""What the two desks' forms say about a report that is perhaps about the wrong patient: parsing alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reading_queue.errors import Invalid
from reading_queue.services.corrections import voiding
from reading_queue.web.parsing import field


def voiding_of(form: Mapping[str, Any]) -> tuple[Callable[..., object], dict[str, object]]:
    """Return the use case that the form asks for and its options. Raises Invalid."""
    words = field(form, "words")
    match field(form, "act"):
        case "ask":
            return voiding.ask_to_void, {"reason": words}
        case "confirm":
            return voiding.decide_voiding, {"is_void": True}
        case "keep":
            return voiding.decide_voiding, {"is_void": False, "reason": words}
        case _:
            raise Invalid("ask, confirm or keep is needed")
