"""The clinic's own page: what came in, where it is, what needs a person, the reports. Useful with the line down."""

from __future__ import annotations

from gateway.console.server import ConsoleServer

__all__ = ["ConsoleServer"]
