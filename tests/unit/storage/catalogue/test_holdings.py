"""When an instance that is declared is the one that is held."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from storage.catalogue.holdings import OTHER_BYTES, OTHER_STUDY, find_conflict
from storage.contract.manifest import InstanceEntry

HELD = {"received_sha256": "a" * 64, "stored_sha256": "b" * 64, "pixel_sha256": "c" * 64, "values_sha256": "d" * 64}
OTHER = {name: str(number) * 64 for number, name in enumerate(HELD)}


class Row(NamedTuple):
    sop_instance_uid: str
    study_uid: str
    received_sha256: str
    stored_sha256: str
    pixel_sha256: str | None
    values_sha256: str | None


def entry(**digests: Any) -> InstanceEntry:
    return InstanceEntry(
        sop_instance_uid="1.2.3",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        series_uid="1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        size_bytes=1000,
        received_at=datetime(2026, 3, 2, tzinfo=UTC),
        **OTHER | digests,
    )


@pytest.mark.parametrize(
    ("agreeing", "reason"),
    [
        ({"received_sha256", "stored_sha256", "pixel_sha256", "values_sha256"}, None),
        ({"received_sha256"}, None),  # the same dataset, kept in another form
        ({"stored_sha256"}, None),  # the very file; what else is said of it cannot be true of other bytes
        ({"values_sha256", "pixel_sha256"}, None),  # recoded
        ({"values_sha256"}, OTHER_BYTES),
        ({"pixel_sha256"}, OTHER_BYTES),
        (set(), OTHER_BYTES),
    ],
)
def test_same_uid_is_the_same_instance_only_with_the_same_contents(agreeing: set[str], reason: str | None) -> None:
    held: Any = Row("1.2.3", "1.1", **HELD)
    declared = entry(**{name: HELD[name] for name in agreeing})
    assert find_conflict(declared, "1.1", held) == reason
    assert find_conflict(declared, "1.9", held) == OTHER_STUDY


def test_digests_that_nobody_could_take_prove_nothing() -> None:
    held: Any = Row("1.2.3", "1.1", **HELD | {"pixel_sha256": None})
    assert find_conflict(entry(pixel_sha256=None, values_sha256=HELD["values_sha256"]), "1.1", held) == OTHER_BYTES
