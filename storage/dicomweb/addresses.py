"""Where the service answers on its host, for those who write addresses into what is kept. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ROOT: Final = "/dicomweb"


def bulk_data_address(uids: Mapping[str, str], path: str) -> str:
    """Return the address of a long binary value; `uids` are those of its `study`, `series` and `instance`."""
    return f"{ROOT}/studies/{uids['study']}/series/{uids['series']}/instances/{uids['instance']}/bulkdata/{path}"
