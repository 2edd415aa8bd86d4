"""What every command begins with: its settings; and how a command ends in words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from gateway.settings import GatewaySettings


def load_or_fail(config: Path) -> GatewaySettings:
    """Return the settings; end the command with words when they cannot be used."""
    from gateway.settings import load_settings
    from storage.configuration import ConfigurationError

    try:
        return load_settings(config)
    except ConfigurationError as exc:
        fail("The configuration cannot be used:\n" + "\n".join(f"  - {problem}" for problem in exc.problems))


def fail(words: str) -> NoReturn:
    """End the command with these words on standard error."""
    print(words, file=sys.stderr)
    raise typer.Exit(1)
