"""The prepared object is what would be put together: as a whole, and series by series."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from storage.dicomweb.headers import encoded, in_order
from storage.dicomweb.prepared import PIECE_BYTES, Prepared, unpacked, write_prepared

numbers = st.none() | st.integers(0, 5)
instances = st.lists(st.tuples(st.sampled_from("ABC"), numbers, numbers), min_size=1, max_size=20)


def header(number: int, series: str, series_number: int | None, instance_number: int | None) -> dict[str, Any]:
    dataset: dict[str, Any] = {
        "0020000D": {"vr": "UI", "Value": ["1"]},
        "0020000E": {"vr": "UI", "Value": [series]},
        "00080018": {"vr": "UI", "Value": [f"{series}.{number}"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "赵䶮^阿"}]},
    }
    for tag, value in (("00200011", series_number), ("00200013", instance_number)):
        dataset[tag] = {"vr": "IS", "Value": [value]} if value is not None else {"vr": "IS"}
    return dataset


def prepare(datasets: list[dict[str, Any]]) -> tuple[Prepared, bytes]:
    writer = io.BytesIO()
    return write_prepared(datasets, writer), writer.getvalue()


@given(instances)
def test_object_is_the_answer_about_the_study(described: list[tuple[str, int | None, int | None]]) -> None:
    datasets = [header(number, *words) for number, words in enumerate(described)]
    prepared, packed = prepare(datasets)
    expected = encoded(in_order(datasets))
    assert gzip.decompress(packed) == expected
    assert (prepared.size_bytes, prepared.json_bytes) == (len(packed), len(expected))


@given(instances)
def test_stretch_is_the_answer_about_its_series(described: list[tuple[str, int | None, int | None]]) -> None:
    datasets = [header(number, *words) for number, words in enumerate(described)]
    prepared, packed = prepare(datasets)
    assert set(prepared.series) == {series for series, _, _ in described}
    for series_uid, stretch in prepared.series.items():
        own = [dataset for dataset in in_order(datasets) if dataset["0020000E"]["Value"] == [series_uid]]
        answer = stretch.before + packed[stretch.offset : stretch.offset + stretch.length] + stretch.behind
        assert gzip.decompress(answer) == encoded(own), "its checksum and length are right, too"
        assert stretch.json_bytes == len(encoded(own))


def test_series_and_instances_are_in_the_order_of_their_numbers_and_those_without_come_last() -> None:
    words = [("B", 2, 10), ("B", 2, 9), ("A", None, 1), ("C", 1, None), ("C", 1, 7)]
    datasets = [header(number, *of_one) for number, of_one in enumerate(words)]
    _, packed = prepare(datasets)
    uids = [dataset["00080018"]["Value"][0] for dataset in json.loads(gzip.decompress(packed))]
    assert uids == ["C.4", "C.3", "B.1", "B.0", "A.2"]


def test_series_whose_instances_say_different_numbers_stays_together() -> None:
    words = [("A", 1, 1), ("B", 2, 1), ("A", 3, 2)]
    prepared, _ = prepare([header(number, *of_one) for number, of_one in enumerate(words)])
    assert list(prepared.series) == ["A", "B"]


def test_same_headers_give_the_same_object() -> None:
    datasets = [header(number, "A", 1, number) for number in range(5)]
    assert prepare(datasets)[1] == prepare(datasets[::-1])[1]


def test_unpacking_is_bounded() -> None:
    text = b"0" * (20 * PIECE_BYTES)
    pieces = list(unpacked([gzip.compress(text)]))
    assert b"".join(pieces) == text
    assert max(len(piece) for piece in pieces) <= PIECE_BYTES
