"""Lookup tables of grey values: modality LUT and VOI LUT (PS3.3 section C.11.1.1)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from storage.dicom.rendering.header import raw_value, words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    Values = NDArray[np.float64]

LUT_DESCRIPTOR: Final = 0x00283002
LUT_DATA: Final = 0x00283006


@dataclass(frozen=True, slots=True)
class Lookup:
    """A table: `first` is what its first entry stands for; its entries go up to `highest`."""

    first: int
    entries: Values
    highest: int

    def apply(self, values: Values) -> Values:
        """Return the entries of these values; what is outside of the table has its first or last."""
        import numpy as np

        places = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        found: Values = self.entries[places.astype(np.intp)]
        return found


def find_lookup(dataset: Dataset, sequence: int, *, signed: bool) -> Lookup | None:
    """Return the first table of a sequence; None without one that can be read. `signed` is the input of the table."""
    import numpy as np

    item: Any = None
    with suppress(KeyError, IndexError, TypeError, AttributeError):
        item = dataset[sequence].value[0]
    if item is None:
        return None
    described, data = words(item, LUT_DESCRIPTOR, signed=signed), raw_value(item, LUT_DATA)
    if len(described) != 3 or not data:
        return None
    unsigned = [number & 0xFFFF for number in described]
    count, bits = unsigned[0] or 65536, unsigned[2]
    wide = len(data) >= count * 2
    if not 1 <= bits <= 16 or len(data) < count:
        return None
    order = "<" if getattr(item.get_item(LUT_DATA), "is_little_endian", True) else ">"
    entries = np.frombuffer(data, f"{order}u2" if wide else "u1", count).astype(np.float64)
    return Lookup(described[1], entries, (1 << bits) - 1)
