"""Keys are made once, survive a restart, and open with their own key file only."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from reading_queue.db.tables import SigningKey
from reading_queue.services.access.keys import KeyFile, KeyFileDamaged, hub_key, public_key_text, sign_as, sign_as_hub
from reading_queue.services.hub import Hub
from storage.contract.signing import verify_bytes


def test_key_file_is_made_on_first_use_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "hub.key"
    first = KeyFile(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert KeyFile(path).unwrap(first.wrap(b"secret")) == b"secret"


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    path = tmp_path / "hub.key"
    derived: list[bytes] = []
    threads = [threading.Thread(target=lambda: derived.append(KeyFile(path).derive("x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(derived) == 8
    assert len(set(derived)) == 1


def test_secret_wrapped_by_another_key_file_does_not_open(tmp_path: Path) -> None:
    wrapped = KeyFile(tmp_path / "a").wrap(b"secret")
    with pytest.raises(ValueError, match="another key file"):
        KeyFile(tmp_path / "b").unwrap(wrapped)


@pytest.mark.parametrize("position", [0, 12, -1])
def test_altered_secret_does_not_open(tmp_path: Path, position: int) -> None:
    keys = KeyFile(tmp_path / "a")
    wrapped = bytearray(keys.wrap(b"secret"))
    wrapped[position] ^= 1
    with pytest.raises(ValueError, match="altered"):
        keys.unwrap(bytes(wrapped))


def test_damaged_key_file_stops_the_program(tmp_path: Path) -> None:
    path = tmp_path / "hub.key"
    path.write_bytes(b"short")
    with pytest.raises(KeyFileDamaged, match="backup"):
        KeyFile(path)


def test_purposes_yield_different_secrets(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "a")
    assert keys.derive("one") != keys.derive("two")
    assert len(keys.derive("one")) == 32


@pytest.mark.postgres
def test_hub_signs_with_the_key_that_it_told_the_gateway(hub: Hub) -> None:
    key_id, public_key = hub_key(hub)
    signed_by, signature = sign_as_hub(hub, b"data")
    assert signed_by == key_id
    verify_bytes(public_key, b"data", signature)


@pytest.mark.postgres
def test_every_owner_has_one_key_however_many_ask_at_once(hub: Hub) -> None:
    def sign() -> None:
        with hub.transaction() as session:
            sign_as(session, hub, "physician-1", b"data")

    threads = [threading.Thread(target=sign) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with hub.transaction() as session:
        kept = session.scalars(select(SigningKey).where(SigningKey.owner == "physician-1")).one()
        signature = sign_as(session, hub, "physician-1", b"more")
    verify_bytes(public_key_text(kept), b"more", signature.value)
    assert signature.key_id == kept.key_id
