"""Opens copies of claimed cases for a retrieval. Durable: nothing; a copy whose claim ends meanwhile is gone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from gateway.journal import reader_cases as journal_of
from gateway.journal.database import Journal
from gateway.journal.holdings import HeldInstance
from gateway.reader.copies import path_of


class ClaimedFiles:
    """The copies below `root`, as a retrieval sees them."""

    def __init__(self, journal: Journal, root: Path) -> None:
        self._journal = journal
        self._root = root

    def open(self, held: HeldInstance) -> BinaryIO | None:
        """Open one of the instance's copies, which are all the same; None when there is none any more."""
        for task_id, pack_id in journal_of.packs_with(self._journal, held.sop_instance_uid):
            with suppress(FileNotFoundError):
                return path_of(self._root, task_id, pack_id, held.sop_instance_uid).open("rb")
        return None
