"""Who logged in, looked at what, printed what: lines of the audit trail beside those of what people asked for.

Durable with the effect that a line tells of. Subjects and details hold ids and counts, never patient data.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Final

from gateway.journal.controls import add_action

COMMAND_LINE: Final = "command-line"


def record_action(
    connection: sqlite3.Connection, at: datetime, actor: str, verb: str, subject: str, **detail: object
) -> None:
    """Append one line; it commits with what it tells of. `actor` is an account's id or COMMAND_LINE."""
    add_action(connection, at, actor, verb, subject, detail)
