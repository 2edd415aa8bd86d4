"""Which attributes a search tells of a workitem (PS3.18 section 11.9.2, column Return Key of PS3.4 Table CC.2.5-3).

Pure. Those of return key type 1 and 2, the latter empty where nothing is known, and 1C where there is one; what was
searched by; and what `includefield` names. A path is the tags through sequences; a sequence of it has all its items,
each with what the path names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from reading_queue.domain.workitems.attributes import ATTRIBUTES, PERFORMED_ATTRIBUTES
from reading_queue.domain.workitems.content import PERFORMED, DicomJson, element

Path = tuple[str, ...]

EVERYTHING: Final[Path] = ()
_TYPE_2: Final = [one for one in ATTRIBUTES if one.listed == "2"]
_ALWAYS: Final[frozenset[Path]] = frozenset(
    {(one.tag,) for one in ATTRIBUTES if one.listed in ("1", "1C", "2")}
    | {(PERFORMED, one.tag) for one in PERFORMED_ATTRIBUTES if one.listed == "1C"}
)
# What a workitem can have at all, with what the hub tells beside the table: of one study, its description and kinds.
KNOWN: Final = frozenset({one.tag for one in ATTRIBUTES} | {"00081030", "00080061"})


def listed(workitem: DicomJson, asked: Iterable[Path]) -> DicomJson:
    """Return of a whole workitem what a search tells that asks for these paths beside what is always told."""
    wanted = _ALWAYS | frozenset(asked)
    found = workitem if EVERYTHING in wanted else _chosen(workitem, wanted)
    empty = {one.tag: element(one.vr, None) for one in _TYPE_2 if one.tag not in found}
    return dict(sorted((found | empty).items()))


def _chosen(item: DicomJson, wanted: frozenset[Path]) -> DicomJson:
    found: DicomJson = {}
    for tag, held in item.items():
        within = frozenset(path[1:] for path in wanted if path[:1] == (tag,))
        if EVERYTHING in within:
            found[tag] = held
        elif within and held["vr"] == "SQ":
            items = [_chosen(one, within) for one in held.get("Value", [])]
            if any(items):
                found[tag] = element("SQ", items)
    return found
