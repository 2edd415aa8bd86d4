"""Packs: one object in storage that holds many instances of one study."""

from storage.packs.layout import PackLayout, PackMember, PlacedMember, layout_of, plan_packs
from storage.packs.reading import PackDamaged, PackedFile, ScannedPack, scan_pack
from storage.packs.stream import MemberChanged, PackStream, pack_sha256

__all__ = [
    "MemberChanged",
    "PackDamaged",
    "PackLayout",
    "PackMember",
    "PackStream",
    "PackedFile",
    "PlacedMember",
    "ScannedPack",
    "layout_of",
    "pack_sha256",
    "plan_packs",
    "scan_pack",
]
