"""The hub's configuration is read once, and all that is wrong is said together."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from reading_queue.settings import load_settings
from storage.configuration import ConfigurationError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hub.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path, text))
    return caught.value.problems


def test_without_a_file_the_embedded_servers_are_used() -> None:
    settings = load_settings(None)
    assert settings.database.url is None
    assert settings.broker.url is None
    assert settings.objects.kind == "directory"


def test_every_problem_is_reported_together(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path,
        """
        colour = "blue"
        public_url = "hub.example.org/path"
        [web]
        port = 70000
        bind = "x"
        [database]
        url = "sqlite:///x"
        [broker]
        url = "filesystem://"
        [objects]
        kind = "s3"
        bucket = "b"
        [policy]
        lease = 5
        offer_ttl_s = "soon"
        """,
    )
    text = "\n".join(problems)
    for part in (
        "colour: the hub has no such setting",
        "public_url: an address looks like",
        "web.port",
        "web.bind: the hub has no such setting",
        "database.url: the database is PostgreSQL",
        "broker.url: the broker's address begins",
        "objects: kind s3 also needs endpoint, access_key, secret_key_file",
        "policy.lease: the hub has no such setting",
        "policy.offer_ttl_s",
    ):
        assert part in text


def test_a_policy_of_zero_is_refused(tmp_path: Path) -> None:
    assert "must be positive: lease_s" in problems_of(tmp_path, "[policy]\nlease_s = 0\n")[0]


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPART_HUB_WEB__PORT", "0")
    monkeypatch.setenv("COUNTERPART_HUB_POLICY__LEASE_S", "60")
    settings = load_settings(write(tmp_path, '[web]\nport = 9000\nhost = "127.0.0.2"\n'))
    assert (settings.web.host, settings.web.port) == ("127.0.0.2", 0)
    assert settings.policy.lease_s == 60


def test_an_unknown_environment_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPART_HUB_COLOUR", "blue")
    with pytest.raises(ConfigurationError, match="COUNTERPART_HUB_COLOUR"):
        load_settings(None)


def test_passwords_in_addresses_are_never_shown(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, '[database]\nurl = "postgresql://hub:geheim@db/hub"\n'))
    assert "geheim" not in repr(settings)
    assert settings.database.url is not None
    assert settings.database.url.get_secret_value() == "postgresql+psycopg://hub:geheim@db/hub"


def test_settings_never_change_after_they_were_read() -> None:
    with pytest.raises(ValidationError):
        load_settings(None).public_url = "http://other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"web = ", "is not valid TOML", id="broken"),
        pytest.param(b"\xff\xfe", "is not valid TOML", id="not text"),
    ],
)
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "hub.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words):
        load_settings(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        load_settings(tmp_path / "none.toml")
