"""What key object selections and measurement reports say, and what malformed ones do not."""

from __future__ import annotations

from typing import Any

import pytest

from reading_queue.domain.evidence_content import (
    DEPTH_MAX,
    ITEMS_MAX,
    KEY_OBJECT_SELECTION,
    Finding,
    MarkedImage,
    findings_of,
)

SR = "1.2.840.10008.5.1.4.1.1.88.34"


def code(value: str, scheme: str, meaning: str) -> dict[str, Any]:
    texts = {"00080100": value, "00080102": scheme, "00080104": meaning}
    return sequence({tag: {"vr": "SH", "Value": [text]} for tag, text in texts.items()})


def sequence(*items: Any) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}


def content(value_type: str, *children: Any, **more: Any) -> dict[str, Any]:
    item = {"0040A040": {"vr": "CS", "Value": [value_type]}, **more}
    return {**item, "0040A730": sequence(*children)} if children else item


def image(uid: str, frame: int | None = None) -> dict[str, Any]:
    reference: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if frame is not None:
        reference["00081160"] = {"vr": "IS", "Value": [frame]}
    return content("IMAGE", **{"00081199": sequence(reference)})


def number(value: Any, *children: Any, unit: str = "mm") -> dict[str, Any]:
    measured = {"0040A30A": {"vr": "DS", "Value": [value]}, "004008EA": code(unit, "UCUM", "millimeter")}
    named = {"0040A043": code("410668003", "SCT", "Length"), "0040A300": sequence(measured)}
    return content("NUM", *children, **named)


def length(value: str, on: MarkedImage | None) -> Finding:
    return Finding(on, "Length", "SCT 410668003", value, "mm")


def test_key_images_in_their_order_with_their_frames() -> None:
    document = content("CONTAINER", content("TEXT"), image("1.2", 3), image("1.1"))
    expected = (Finding(MarkedImage("1.2", 3)), Finding(MarkedImage("1.1")))
    assert findings_of(document, KEY_OBJECT_SELECTION) == expected


def test_measurement_has_the_image_of_its_coordinates() -> None:
    document = content("CONTAINER", image("9.9"), content("CONTAINER", number(23.4, content("SCOORD", image("1.2")))))
    assert findings_of(document, SR) == (length("23.4", MarkedImage("1.2")),)


def test_measurement_without_coordinates_has_the_image_of_its_group() -> None:
    group = content("CONTAINER", content("SCOORD", image("1.2")), number("23.40"), number(5))
    on = MarkedImage("1.2")
    assert findings_of(content("CONTAINER", group), SR) == (length("23.40", on), length("5", on))


def test_measurement_that_names_no_image_stays_a_measurement() -> None:
    assert findings_of(content("CONTAINER", number(1.5)), SR) == (length("1.5", None),)


@pytest.mark.parametrize("value", ["", "wide", "NaN", "Infinity", "1e400", None])
def test_value_that_is_no_number_is_no_measurement(value: Any) -> None:
    assert findings_of(content("CONTAINER", number(value)), SR) == ()


@pytest.mark.parametrize(
    "document", [{}, {"0040A730": {"vr": "SQ"}}, {"0040A730": sequence("text")}, content("CONTAINER", content("NUM"))]
)
@pytest.mark.parametrize("kind", [SR, KEY_OBJECT_SELECTION])
def test_malformed_document_says_nothing(document: dict[str, Any], kind: str) -> None:
    assert findings_of(document, kind) == ()


def test_document_is_read_only_so_deep_and_so_far() -> None:
    deep = number(1)
    for _ in range(DEPTH_MAX + 2):
        deep = content("CONTAINER", deep)
    assert findings_of(deep, SR) == ()
    assert len(findings_of(content("CONTAINER", *[number(1)] * (ITEMS_MAX + 1)), SR)) == ITEMS_MAX


@pytest.mark.parametrize(
    "finding", [Finding(MarkedImage("1.2", 3)), length("1.5", MarkedImage("1.2")), length("1", None)]
)
def test_finding_is_what_was_written(finding: Finding) -> None:
    assert Finding.from_json(finding.as_json()) == finding
