"""Certificate trouble is told in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.tls import (
    CertificateUnusable,
    Credentials,
    WatchedContext,
    client_context,
    explain_credentials,
    server_context,
)
from tests.support.certificates import Authority

NOW = datetime.now(UTC)


def credentials(directory: Path, **validity: timedelta) -> Credentials:
    authority = Authority(directory)
    issued = authority.issue("gateway", **validity)
    return Credentials(issued.certificate_file, issued.key_file, authority.ca_file)


def expired(directory: Path) -> Credentials:
    return credentials(directory, begins=timedelta(days=-9), ends=timedelta(days=-2))


def not_yet_valid(directory: Path) -> Credentials:
    return credentials(directory, begins=timedelta(days=2))


def wrong_key(directory: Path) -> Credentials:
    good = credentials(directory)
    return Credentials(good.certificate_file, Authority(directory / "other").issue("x").key_file)


def no_certificate(directory: Path) -> Credentials:
    good = credentials(directory)
    return Credentials(good.key_file, good.key_file)


def no_key(directory: Path) -> Credentials:
    good = credentials(directory)
    return Credentials(good.certificate_file, good.certificate_file)


def missing(directory: Path) -> Credentials:
    good = credentials(directory)
    return Credentials(good.certificate_file, directory / "nowhere.key")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (expired, "expired on"),
        (not_yet_valid, "not valid before"),
        (wrong_key, "is not the key of"),
        (no_certificate, "holds no certificate"),
        (no_key, "holds no private key"),
        (missing, "cannot be read"),
    ],
)
def test_trouble_with_a_certificate_is_told_in_words(
    tmp_path: Path, make: Callable[[Path], Credentials], words: str
) -> None:
    with pytest.raises(CertificateUnusable, match=words):
        explain_credentials(make(tmp_path), NOW)


def test_good_certificate_is_good_until_its_end(tmp_path: Path) -> None:
    good = credentials(tmp_path)
    assert "good until" in explain_credentials(good, NOW)
    server_context(good, require_client_certificate=True)
    client_context(good, check_server_name=False)


def test_files_that_are_replaced_count_once_they_belong_together(tmp_path: Path) -> None:
    files = credentials(tmp_path)
    watched = WatchedContext(files)
    before = watched.context
    assert not watched.read_again()
    old_key = files.key_file.read_bytes()
    credentials(tmp_path)
    new_key = files.key_file.read_bytes()
    files.key_file.write_bytes(old_key)
    with pytest.raises(CertificateUnusable, match="is not the key of"):
        watched.read_again()
    assert not watched.read_again()  # it is said once
    assert watched.context is before
    files.key_file.unlink()
    with pytest.raises(CertificateUnusable, match="cannot be read"):
        watched.read_again()
    files.key_file.write_bytes(new_key)
    assert watched.read_again()
    assert watched.context is not before
