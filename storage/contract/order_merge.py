"""One order that was changed in two places at once: what people type, and what the scanner reports of the examination.

Pure. Neither overwrites the other: a version that knows nothing of the examination does not take it back, and a
report of the examination does not take back what was typed meanwhile. The study is of the examination: an import may
have brought it under a UID of its own.
"""

from __future__ import annotations

from typing import Any, Final

from storage.contract.orders import Order, OrderState

OF_EXAMINATION: Final = ("study_uid", "state", "state_reason", "exam_started_at", "exam_ended_at", "expected_instances")
_OF_VERSION: Final = ("version", "changed_at")
_FAR: Final = {OrderState.IN_PROGRESS: 1, OrderState.DONE: 2, OrderState.DISCONTINUED: 2}


def merge(held: Order, incoming: Order) -> Order:
    """Return what to hold of the order once `incoming` has come; `held` itself when it brings nothing.

    A newer version wins but for an examination that it does not know of. An older one, or another of the same number,
    brings its examination where that is further; one of the same number that knows less of it brings what was typed.
    What is of both is the version after both, so that every place fetches it. Two texts of one version that are equally
    far cannot be merged: `held` stays, and a person has to look.
    """
    held_far, far = _FAR.get(held.state, 0), _FAR.get(incoming.state, 0)
    if incoming.version > held.version:
        return _join(incoming, held) if held_far and not far else incoming
    if far > held_far:
        return _join(held, incoming)
    if incoming.version == held.version and held_far > far and _typed(incoming) != _typed(held):
        return _join(incoming, held)
    return held


def _join(typed: Order, examined: Order) -> Order:
    """Return the next version: what people typed in the one, the examination of the other."""
    examination = {name: getattr(examined, name) for name in OF_EXAMINATION}
    version = max(typed.version, examined.version) + 1
    changed_at = max(typed.changed_at, examined.changed_at)
    return Order.model_validate(typed.model_dump() | examination | {"version": version, "changed_at": changed_at})


def _typed(order: Order) -> dict[str, Any]:
    return order.model_dump(exclude={*OF_EXAMINATION, *_OF_VERSION})
