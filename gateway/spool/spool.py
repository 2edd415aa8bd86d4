"""The spool's directories and the moves between them.

Durable: every file after `store_incoming` or `quarantine` returned, every move after it returned. Volatile: tmp. A move
that was cut short is finished by repeating it; `gateway.spool.rebuild` does so at start-up. Nothing here deletes an
acknowledged instance. Moves of one study have it alone under `locked`; arrivals share it under `arriving`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gateway.errors import InstanceNotInSpool
from gateway.spool import layout
from gateway.spool.durable import DurableFile, FileOperations, full_disk_named, make_directory_durably
from gateway.spool.layout import SpoolState
from gateway.spool.quarantine import QuarantineReason, quarantine_file
from gateway.spool.room import PromisedFile, RoomKeeper
from gateway.spool.turns import Turns
from storage.contract.identifiers import Uid, new_id

STUDY_TURNS = 64


class Spool:
    """The instance files of one gateway under one root directory on one file system."""

    def __init__(self, root: Path, files: FileOperations) -> None:
        self.root = root
        self.files = files
        self.room = RoomKeeper(self.free_bytes, floor_bytes=0)
        self._fragment_prefix, self._fragment_numbers = new_id(), itertools.count()
        self._turns = tuple(Turns() for _ in range(STUDY_TURNS))
        self._making_directory = threading.Lock()
        root.mkdir(parents=True, exist_ok=True)
        for name in (*SpoolState, layout.QUARANTINE, layout.READER, layout.TMP):
            make_directory_durably(files, root / name)

    @contextmanager
    def locked(self, study_uid: Uid) -> Iterator[None]:
        """Keep arrivals and moves of this study apart from those of other threads."""
        with self._turns[hash(study_uid) % STUDY_TURNS].alone():
            yield

    @contextmanager
    def arriving(self, study_uid: Uid) -> Iterator[None]:
        """Keep moves of this study away while an instance arrives, from its name to its row; others may arrive too."""
        with self._turns[hash(study_uid) % STUDY_TURNS].shared():
            yield

    def begin(self) -> DurableFile:
        """Return a new file in tmp.

        Raises:
            SpoolFull: the disk has no room above its floor.
        """
        name = f"{self._fragment_prefix}-{next(self._fragment_numbers)}{layout.FRAGMENT_SUFFIX}"
        return PromisedFile(self.files, self.root / layout.TMP / name, self.room)

    def begin_smaller(self) -> DurableFile:
        """Return a new file in tmp for the smaller form of an instance that is held; the start-up scan removes it.

        Raises:
            SpoolFull: the disk has no room above its floor.
        """
        return PromisedFile(self.files, self.root / layout.TMP / f"{new_id()}{layout.SMALLER_SUFFIX}", self.room)

    def begin_copy(self) -> DurableFile:
        """Return a new file in tmp for bytes that the hub has too; the start-up scan removes it.

        Raises:
            SpoolFull: the disk has no room above its floor.
        """
        return PromisedFile(self.files, self.root / layout.TMP / f"{new_id()}{layout.COPY_SUFFIX}", self.room)

    def replace_incoming(self, smaller: DurableFile, study_uid: Uid, sop_instance_uid: Uid) -> None:
        """Put a sealed file in an arriving instance's place; under `locked`, after the journal has announced it."""
        smaller.publish(self.path_of(sop_instance_uid, study_uid, None, SpoolState.INCOMING))

    def limit(self, *, floor_bytes: int, low_bytes: int, make_room: Callable[[int], int]) -> None:
        """Have this much stay free from now on; `make_room` frees about so many bytes of what is not needed."""
        self.room = RoomKeeper(self.free_bytes, floor_bytes=floor_bytes, low_bytes=low_bytes, make_room=make_room)

    def store_incoming(self, arrived: DurableFile, study_uid: Uid, sop_instance_uid: Uid) -> Path:
        """Give the instance its durable place among the arriving; return the path. Under `arriving` or `locked`.

        Raises:
            SpoolFull, OSError: it does not count as stored; the caller withdraws it in case that it has its place.
        """
        directory = layout.study_directory(self.root, SpoolState.INCOMING, study_uid, None)
        with self._making_directory:  # whoever finds the directory made must find it synced
            make_directory_durably(self.files, directory)
        target = directory / layout.instance_name(sop_instance_uid)
        arrived.publish(target)
        return target

    def withdraw_incoming(self, arrived: DurableFile, study_uid: Uid, sop_instance_uid: Uid) -> None:
        """Take a file whose `store_incoming` counts for nothing back to tmp; harmless when it had no place."""
        arrived.withdraw(self.path_of(sop_instance_uid, study_uid, None, SpoolState.INCOMING))

    def move_to_ready(self, study_uid: Uid, revision: int, sop_instance_uids: Collection[Uid]) -> None:
        """Move these arriving instances into the transfer `revision`; harmless to repeat."""
        source = layout.study_directory(self.root, SpoolState.INCOMING, study_uid, None)
        target = layout.study_directory(self.root, SpoolState.READY, study_uid, revision)
        self._move(source, target, {layout.instance_name(uid) for uid in sop_instance_uids})

    def move_back_to_incoming(self, study_uid: Uid, revision: int, state: SpoolState = SpoolState.READY) -> None:
        """Have a transfer that the journal does not know judged once more; harmless to repeat."""
        source = layout.study_directory(self.root, state, study_uid, revision)
        self._move(source, layout.study_directory(self.root, SpoolState.INCOMING, study_uid, None), _names(source))

    def move_to_sent(self, study_uid: Uid, revision: int) -> None:
        """Move a transfer that the hub has confirmed; harmless to repeat."""
        self._move_transfer(study_uid, revision, SpoolState.READY, SpoolState.SENT)

    def move_back_to_ready(self, study_uid: Uid, revision: int) -> None:
        """Move a transfer that the hub confirmed, and lost since, back to those that go there; harmless to repeat."""
        self._move_transfer(study_uid, revision, SpoolState.SENT, SpoolState.READY)

    def path_of(self, sop_instance_uid: Uid, study_uid: Uid, revision: int | None, state: SpoolState) -> Path:
        """Return where the instance lies when it is in this state."""
        return layout.study_directory(self.root, state, study_uid, revision) / layout.instance_name(sop_instance_uid)

    def open_instance(self, sop_instance_uid: Uid, study_uid: Uid, revision: int | None, state: SpoolState) -> BinaryIO:
        """Open the Part 10 file of an instance for reading.

        Raises:
            InstanceNotInSpool: there is no such file in this state.
        """
        try:
            return self.path_of(sop_instance_uid, study_uid, revision, state).open("rb")
        except FileNotFoundError as exc:
            raise InstanceNotInSpool(f"instance {sop_instance_uid} is not in {state}") from exc

    def revisions_of(self, study_uid: Uid) -> set[int]:
        """Return the numbers of this study's transfers that lie in the spool."""
        found: set[int] = set()
        for state in (SpoolState.READY, SpoolState.SENT):
            for directory in (self.root / state).glob(f"{study_uid}.*"):
                owner, revision = layout.parse_study_directory(state, directory.name)
                if owner == study_uid and revision is not None:
                    found.add(revision)
        return found

    def quarantine(self, file: Path, reason: QuarantineReason) -> str:
        """Move the file into quarantine beside its reason; return its id there.

        The same bytes refused for the same reason again take the same place.

        Raises:
            SpoolFull: the disk has no room; the file stays where it is.
        """
        return quarantine_file(self.files, file, self.root / layout.QUARANTINE, reason)

    def quarantined(self, quarantine_id: str) -> Path:
        """Return where the object with this id in quarantine lies."""
        return self.root / layout.QUARANTINE / f"{quarantine_id}{layout.INSTANCE_SUFFIX}"

    def free_bytes(self) -> int:
        """Return the room left on the spool's disk."""
        return self.files.free_bytes(self.root)

    def _move_transfer(self, study_uid: Uid, revision: int, here: SpoolState, there: SpoolState) -> None:
        source = layout.study_directory(self.root, here, study_uid, revision)
        self._move(source, layout.study_directory(self.root, there, study_uid, revision), _names(source))

    def _move(self, source: Path, target: Path, names: Collection[str]) -> None:
        """Move `names` from one directory to the other; those that are not in `source` must be in `target`."""
        with full_disk_named(target):
            present = _names(source)
            missing = [name for name in names if name not in present and not (target / name).exists()]
            if missing:
                raise InstanceNotInSpool(f"{len(missing)} of {len(names)} files are not in {source.parent.name}")
            if present and present == set(names) and not target.exists():
                self.files.rename(source, target)
            else:
                self._move_one_by_one(source, target, sorted(present & set(names)))
            self.files.fsync_directory(target.parent)
            self.files.fsync_directory(source.parent)

    def _move_one_by_one(self, source: Path, target: Path, names: list[str]) -> None:
        make_directory_durably(self.files, target)
        for name in names:
            self.files.rename(source / name, target / name)
        self.files.fsync_directory(target)
        if source.is_dir():
            self.files.fsync_directory(source)
            if not any(source.iterdir()):
                self.files.remove_directory(source)


def _names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()
