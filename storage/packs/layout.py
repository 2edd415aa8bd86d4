"""Where everything lies in a pack, known before its first byte is written. Pure.

A pack is an uncompressed USTAR archive (POSIX.1-1988): `pack.json` first, then whole DICOM Part 10 files named by SOP
Instance UID and sorted by it, times and owners zero, ended by exactly 1,024 zero bytes. So a pack is a pure function of
its members: built twice, it has the same SHA-256, and `tar xf` opens it without this software.

An instance larger than a pack's greatest size is alone in a pack that travels in parts (`storage.packs.parts`). USTAR
ends at 8 GiB for one file.
"""

from __future__ import annotations

import itertools
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from storage.contract.identifiers import Sha256Hex, SiteId, Uid, parse_sha256, parse_site_id, parse_uid

PACK_FORMAT: Final = "counterpart-pack/1"
INDEX_NAME: Final = "pack.json"
PACK_BYTES_MIN: Final = 1024 * 1024
PACK_BYTES_MAX: Final = 16 * 1024 * 1024
BLOCK_BYTES: Final = 512
END_BYTES: Final = 1024
# What a pack costs beside its members: its end, the header of pack.json, the fields of pack.json that are not members,
# and the padding of pack.json.
_FIXED_BYTES: Final = END_BYTES + BLOCK_BYTES + 256 + BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class PackMember:
    """One Part 10 file of a pack."""

    sop_instance_uid: Uid
    size_bytes: int
    stored_sha256: Sha256Hex

    @property
    def name(self) -> str:
        """The member's name in the archive."""
        return f"{self.sop_instance_uid}.dcm"

    def entry(self) -> dict[str, str | int]:
        """Return the member's line in pack.json."""
        return {
            "sop_instance_uid": self.sop_instance_uid,
            "size_bytes": self.size_bytes,
            "stored_sha256": self.stored_sha256,
        }


@dataclass(frozen=True, slots=True)
class PlacedMember:
    """A member and the offset of its file (not of its header) inside the pack."""

    member: PackMember
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class PackLayout:
    """A whole pack but for the bytes of its members. `index` is pack.json; `size_bytes` the archive's exact length."""

    site_id: SiteId
    study_uid: Uid
    index: bytes
    places: tuple[PlacedMember, ...]
    size_bytes: int


def plan_packs(members: Iterable[PackMember], *, target_bytes: int) -> list[list[PackMember]]:
    """Return the members of each pack, sorted by UID; the same members and target always give the same packs.

    A pack of several members is at most `target_bytes` long, which is kept between 1 and 16 MiB; a member that does
    not fit is alone in its pack.

    Raises:
        ValueError: a UID occurs twice.
    """
    limit_bytes = min(max(target_bytes, PACK_BYTES_MIN), PACK_BYTES_MAX)
    packs: list[list[PackMember]] = []
    used_bytes = 0
    for member in _sorted_and_unique(members):
        cost_bytes = BLOCK_BYTES + padded(member.size_bytes) + len(canonical_json(member.entry())) + 1
        if not packs or used_bytes + cost_bytes > limit_bytes:
            packs.append([])
            used_bytes = _FIXED_BYTES
        packs[-1].append(member)
        used_bytes += cost_bytes
    return packs


def layout_of(site_id: str, study_uid: str, members: Iterable[PackMember]) -> PackLayout:
    """Return the layout of the pack that holds exactly these members.

    Raises:
        InvalidIdentifier: a site, UID or digest that may not stand in an archive.
        ValueError: no members, a UID twice, or a member of 8 GiB or more.
    """
    ordered = _sorted_and_unique(members)
    if not ordered:
        raise ValueError("a pack needs at least one member")
    index = canonical_json(
        {
            "format": PACK_FORMAT,
            "site_id": parse_site_id(site_id),
            "study_uid": parse_uid(study_uid),
            "members": [member.entry() for member in ordered],
        }
    )
    places = []
    end_bytes = BLOCK_BYTES + padded(len(index))
    for member in ordered:
        member_header(member.name, member.size_bytes)  # raises for a size that USTAR cannot write
        places.append(PlacedMember(member, end_bytes + BLOCK_BYTES))
        end_bytes += BLOCK_BYTES + padded(member.size_bytes)
    return PackLayout(SiteId(site_id), Uid(study_uid), index, tuple(places), end_bytes + END_BYTES)


def member_header(name: str, size_bytes: int) -> bytes:
    """Return the 512-byte USTAR header of a member; raises ValueError for a size of 8 GiB or more."""
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    info.mode = 0o644
    info.mtime = 0
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def padded(size_bytes: int) -> int:
    """Return `size_bytes` rounded up to whole blocks."""
    return size_bytes + -size_bytes % BLOCK_BYTES


def canonical_json(value: object) -> bytes:
    """Return RFC 8785 canonical JSON of a value of ASCII texts and integers, the only ones that a pack.json holds."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode("ascii")


def _sorted_and_unique(members: Iterable[PackMember]) -> list[PackMember]:
    ordered = sorted(members, key=lambda member: member.sop_instance_uid)
    for member in ordered:
        parse_uid(member.sop_instance_uid)
        parse_sha256(member.stored_sha256)
        if member.size_bytes < 0:
            raise ValueError(f"member {member.sop_instance_uid} has a negative size")
    for previous, member in itertools.pairwise(ordered):
        if previous.sop_instance_uid == member.sop_instance_uid:
            raise ValueError(f"SOP Instance UID {member.sop_instance_uid} occurs twice")
    return ordered
