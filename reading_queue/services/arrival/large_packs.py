"""Large packs, which come in numbered parts: composed inside object storage, and told apart part by part.

Durable: the composed object at its final key. It stands there unproved for as long as its verification takes, and is
removed before a refusal is written down, so that a run that was cut off finds either parts or a whole and never a
mixture: it goes on with the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from reading_queue.services.arrival.pack_proof import PackClaim, PackRefused, PartClaim
from reading_queue.services.arrival.staging import keys_by_part
from reading_queue.services.hub import Hub
from storage.catalogue.tables import GrantedPack
from storage.objects.protocol import ObjectMissing
from storage.packs.parts import place_parts


def claims_of_parts(pack: GrantedPack, grants: Sequence[GrantedPack]) -> tuple[PartClaim, ...]:
    """Return what is claimed of each part of a pack; `grants` are those of the pack up to its own, newest first."""
    declared = pack.parts or []
    keys = keys_by_part(grants)
    return tuple(
        PartClaim(place.number, place.offset_bytes, place.size_bytes, one["sha256"], tuple(keys.get(place.number, ())))
        for place, one in zip(place_parts([one["size_bytes"] for one in declared]), declared, strict=True)
    )


def compose_parts(hub: Hub, claim: PackClaim) -> None:
    """Compose the parts into the final object; nothing to do when a run before this one came so far.

    Raises:
        PackRefused: a part is not there, or not as long as it was declared; names those parts.
    """
    if _find_size(hub, claim.object_key) == claim.size_bytes:
        return
    found = {part.number: _find_key(hub, part) for part in claim.parts}
    absent = tuple(number for number, key in found.items() if key is None)
    if absent:
        words = f"{len(absent)} of {len(claim.parts)} parts are not in object storage as they were declared"
        raise PackRefused("part_missing", words, absent)
    hub.objects.compose([key for key in found.values() if key is not None], claim.object_key)


def find_wrong_parts(hub: Hub, claim: PackClaim) -> tuple[int, ...]:
    """Return the numbers of the parts whose bytes in the composed object have another SHA-256 than declared."""
    wrong = []
    for part in claim.parts:
        digest = hashlib.sha256()
        with hub.objects.open(claim.object_key, offset=part.offset_bytes, length=part.size_bytes) as chunks:
            for chunk in chunks:
                digest.update(chunk)
        if digest.hexdigest() != part.sha256:
            wrong.append(part.number)
    return tuple(wrong)


def set_aside(hub: Hub, claim: PackClaim, refusal: PackRefused) -> None:
    """Keep what did not prove: the parts that the refusal names, else the whole; then remove the composed object."""
    if refusal.parts:
        for part in claim.parts:
            key = _find_any(hub, part) if part.number in refusal.parts else None
            if key is not None:
                hub.objects.copy(key, f"{claim.quarantine_key}.part-{part.number:05}")
    elif _find_size(hub, claim.object_key) is not None:
        hub.objects.copy(claim.object_key, claim.quarantine_key)
    hub.objects.erase(claim.object_key)


def remove_parts(hub: Hub, claim: PackClaim, numbers: Sequence[int]) -> None:
    """Remove the uploads of these parts; of all when none is named."""
    for part in claim.parts:
        if not numbers or part.number in numbers:
            for key in part.keys:
                hub.objects.erase(key)


def _find_key(hub: Hub, part: PartClaim) -> str | None:
    return next((key for key in part.keys if _find_size(hub, key) == part.size_bytes), None)


def _find_any(hub: Hub, part: PartClaim) -> str | None:
    return next((key for key in part.keys if _find_size(hub, key) is not None), None)


def _find_size(hub: Hub, key: str) -> int | None:
    try:
        return hub.objects.stat(key).size_bytes
    except ObjectMissing:
        return None
