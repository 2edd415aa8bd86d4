"""The example configuration tells the truth about the keys and their defaults."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from reading_queue.settings import HubSettings, load_settings

EXAMPLE = Path(__file__).parents[4] / "deploy" / "hub" / "hub.example.toml"


def uncommented() -> str:
    """Return the example with every commented-out key in force."""
    return re.sub(r"^# (?=[a-z_]+ = )", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_example_as_it_stands_is_the_default() -> None:
    settings = load_settings(EXAMPLE)
    assert settings.model_dump() == load_settings(None).model_dump()
    assert settings.file == EXAMPLE


def test_every_key_of_the_example_exists(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text(uncommented(), encoding="utf-8")
    load_settings(path)


def test_every_key_that_exists_is_in_the_example() -> None:
    shown = tomllib.loads(uncommented())
    assert set(shown) == set(HubSettings.model_fields)
    settings = load_settings(None).model_dump()
    for section in ("web", "database", "broker", "objects", "keys", "network", "policy", "worker", "hl7", "log"):
        assert set(shown[section]) == set(settings[section]), section


def test_the_defaults_shown_are_the_defaults() -> None:
    shown = tomllib.loads(uncommented())
    settings = load_settings(None).model_dump()
    for section in ("web", "policy", "network", "worker", "log"):
        assert shown[section] == settings[section], section
