"""Where the service answers on its host, for those who write addresses into what is kept. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ROOT: Final = "/dicomweb"


def bulk_data_address(uids: Mapping[str, str], path: str) -> str:
    """Return the address of a long binary value; `uids` are those of its `study`, `series` and `instance`."""
    return f"{_instance_address(uids)}/bulkdata/{path}"


def frame_address(uids: Mapping[str, str], number: int) -> str:
    """Return the address of the picture of a frame."""
    return f"{_instance_address(uids)}/frames/{number}/rendered"


def _instance_address(uids: Mapping[str, str]) -> str:
    return f"{ROOT}/studies/{uids['study']}/series/{uids['series']}/instances/{uids['instance']}"
