"""A file system that loses power: what was not synced is gone, after any number of operations.

Stricter than real disks: a file keeps only what was fsynced, a directory only the names that stood in it when it was
fsynced, a rename between directories is two changes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from gateway.spool.durable import RealFiles


class PowerCut(BaseException):
    """The machine is off; nothing may run any more."""


@dataclass
class FileNode:
    live: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


@dataclass
class DirectoryNode:
    live: dict[str, FileNode | DirectoryNode] = field(default_factory=dict)
    durable: dict[str, FileNode | DirectoryNode] = field(default_factory=dict)


class ForgetfulFiles(RealFiles):
    """Works on the real directory `root` and remembers what would be left of it.

    Power is cut after `operations_left` operations, or never (None).
    """

    def __init__(self, root: Path, operations_left: int | None = None) -> None:
        self._root = root
        self._tree = DirectoryNode()
        self._open: dict[int, FileNode] = {}
        self._left = operations_left
        self._counting = threading.Lock()
        self.operations = 0

    def open_new(self, path: Path) -> int:
        self._spend()
        descriptor = super().open_new(path)
        node = FileNode()
        self._parent(path).live[path.name] = node
        self._open[descriptor] = node
        return descriptor

    def write(self, descriptor: int, data: bytes) -> None:
        self._spend()
        super().write(descriptor, data)
        self._open[descriptor].live += data

    def fsync(self, descriptor: int) -> None:
        self._spend()
        node = self._open[descriptor]
        node.durable = bytes(node.live)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        self._open.pop(descriptor, None)

    def rename(self, source: Path, target: Path) -> None:
        self._spend()
        super().rename(source, target)
        self._parent(target).live[target.name] = self._parent(source).live.pop(source.name)

    def make_directory(self, path: Path) -> None:
        self._spend()
        super().make_directory(path)
        self._parent(path).live[path.name] = DirectoryNode()

    def remove_file(self, path: Path) -> None:
        self._spend()
        super().remove_file(path)
        del self._parent(path).live[path.name]

    def remove_directory(self, path: Path) -> None:
        self._spend()
        super().remove_directory(path)
        del self._parent(path).live[path.name]

    def fsync_directory(self, path: Path) -> None:
        self._spend()
        node = self._directory(path)
        node.durable = dict(node.live)

    def leave_after_power_loss(self, target: Path) -> None:
        """Write into `target` what the disk would hold when power comes back."""
        _write_durable(self._tree, target)

    def _spend(self) -> None:
        with self._counting:  # directories are synced by several threads
            if self._left is not None and self.operations >= self._left:
                raise PowerCut
            self.operations += 1

    def _parent(self, path: Path) -> DirectoryNode:
        return self._directory(path.parent)

    def _directory(self, path: Path) -> DirectoryNode:
        node = self._tree
        for name in path.relative_to(self._root).parts:
            child = node.live[name]
            assert isinstance(child, DirectoryNode)
            node = child
        return node


def _write_durable(node: DirectoryNode, target: Path) -> None:
    target.mkdir()
    for name, child in node.durable.items():
        if isinstance(child, DirectoryNode):
            _write_durable(child, target / name)
        else:
            (target / name).write_bytes(child.durable)
