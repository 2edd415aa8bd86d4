"""An object is durable on return: its bytes, and every folder that got a new name. No other folder is waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.objects import directory
from storage.objects.directory import DirectoryStore
from tests.support.clock import SteerableClock


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path, public_url="http://hub.example", secret=b"s" * 32, clock=SteerableClock())


@pytest.fixture
def synced(store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were synced, in order."""
    names: list[str] = []
    sync = directory._fsync_directory

    def note(path: Path) -> None:
        names.append(path.relative_to(tmp_path).as_posix())
        sync(path)

    monkeypatch.setattr(directory, "_fsync_directory", note)
    return names


def test_every_folder_that_is_made_is_synced_in_the_one_above(store: DirectoryStore, synced: list[str]) -> None:
    store.put("studies/site/uid/a", b"x", 1)
    assert synced == ["studies/site/uid", "studies/site", "studies", "."]


def test_a_further_object_syncs_its_own_folder_only(store: DirectoryStore, synced: list[str]) -> None:
    store.put("studies/site/uid/a", b"x", 1)
    synced.clear()
    store.put("studies/site/uid/b", b"x", 1)
    store.copy("studies/site/uid/a", "studies/site/uid/c")
    assert synced == ["studies/site/uid", "studies/site/uid"]


def test_a_new_folder_among_old_ones_syncs_the_one_above(store: DirectoryStore, synced: list[str]) -> None:
    store.put("studies/site/uid/a", b"x", 1)
    synced.clear()
    store.put("studies/site/other/a", b"x", 1)
    assert synced == ["studies/site/other", "studies/site"]
