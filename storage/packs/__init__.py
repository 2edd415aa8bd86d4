"""Packs: one object in storage that holds many instances of one study."""

from storage.packs.layout import PackLayout, PackMember, PlacedMember, layout_of, plan_packs
from storage.packs.parts import PackPart, plan_parts
from storage.packs.reading import PackDamaged, PackedFile, ScannedPack, scan_pack
from storage.packs.stream import MemberChanged, PackStream, digest_pack, pack_sha256

__all__ = [
    "MemberChanged",
    "PackDamaged",
    "PackLayout",
    "PackMember",
    "PackPart",
    "PackStream",
    "PackedFile",
    "PlacedMember",
    "ScannedPack",
    "digest_pack",
    "layout_of",
    "pack_sha256",
    "plan_packs",
    "plan_parts",
    "scan_pack",
]
