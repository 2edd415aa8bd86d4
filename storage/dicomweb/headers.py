"""The headers of a study's instances as an answer: from what each pack has of its members, in a reader's order.

Series by number, instances by number. Pure but for the object store, which is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

from storage.dicomweb import bulkdata
from storage.dicomweb.addresses import bulk_data_address
from storage.objects.protocol import ObjectStore

DicomJson = dict[str, Any]
Order = tuple[bool, int, str]

UIDS: Final = {"study": "0020000D", "series": "0020000E", "instance": "00080018"}  # as they stand in addresses
SERIES_NUMBER: Final = "00200011"
INSTANCE_NUMBER: Final = "00200013"


def read_headers(objects: ObjectStore, keys: Iterable[str]) -> Iterator[DicomJson]:
    """Yield the headers that were kept with each pack, with whole addresses of their long values; one pack in memory.

    An instance that came again in another pack, because the first one was damaged, is in both and given once.

    Raises:
        ObjectMissing, StoreUnavailable: the store has not what the catalogue says, or does not answer.
    """
    given: set[str] = set()
    for key in keys:
        kept = objects.read(key)
        datasets: list[DicomJson] = json.loads(kept)
        has_addresses = b"BulkDataURI" in kept
        del kept
        for dataset in datasets:
            sop_instance_uid = uid_of(dataset, "instance")
            if sop_instance_uid in given:
                continue
            given.add(sop_instance_uid)
            if has_addresses:
                uids = {name: uid_of(dataset, name) for name in UIDS}
                bulkdata.complete_addresses(dataset, partial(bulk_data_address, uids))
            yield dataset


def in_order(datasets: Iterable[DicomJson]) -> list[DicomJson]:
    """Return the headers series by series."""
    found = list(datasets)
    series = first_orders((uid_of(one, "series"), series_order(one)) for one in found)
    return sorted(found, key=lambda one: (series[uid_of(one, "series")], instance_order(one)))


def first_orders(orders: Iterable[tuple[str, Order]]) -> dict[str, Order]:
    """Return one place for each series, whose instances may say different numbers: the first."""
    first: dict[str, Order] = {}
    for series_uid, order in orders:
        first[series_uid] = min(order, first.get(series_uid, order))
    return first


def encoded(datasets: Iterable[DicomJson]) -> bytes:
    """Return the headers as one answer (PS3.18 annex F.2)."""
    return b"[" + b",".join(encoded_one(dataset) for dataset in datasets) + b"]"


def encoded_one(dataset: DicomJson) -> bytes:
    """Return one instance's headers as they stand in an answer."""
    return json.dumps(dataset, ensure_ascii=False, separators=(",", ":")).encode()


def uid_of(dataset: DicomJson, name: str) -> str:
    """Return the UID of the instance itself, of its series or of its study; `name` is a key of UIDS."""
    return str(dataset[UIDS[name]]["Value"][0])


def series_order(dataset: DicomJson) -> Order:
    """Return where the instance's series stands among others."""
    return _order(dataset, SERIES_NUMBER, "series")


def instance_order(dataset: DicomJson) -> Order:
    """Return where the instance stands in its series."""
    return _order(dataset, INSTANCE_NUMBER, "instance")


def _order(dataset: DicomJson, tag: str, name: str) -> Order:
    """Return what sorts by number, those without one last."""
    values = dataset.get(tag, {}).get("Value") or [None]
    number = values[0] if isinstance(values[0], int) else None
    return number is None, number or 0, uid_of(dataset, name)
