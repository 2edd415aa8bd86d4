"""Named accounts of the clinic's console and their sessions.

Durable: every function commits one transaction. The hub's accounts are a copy that works with the line down; local
ones are made at the box for the time before its enrolment. Where both have the same login, the hub's decides. Only
the digest of a session's token is kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.journal.actions import record_action
from gateway.journal.database import Journal, from_text, to_text
from storage.contract.wire import AccountRecord

HUB: Final = "hub"
LOCAL: Final = "local"


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account; `origin` says who keeps it."""

    account_id: str
    origin: str
    login: str
    display_name: str
    role: str
    language: str
    password_hash: str
    disabled_at: datetime | None
    failed_logins: int
    locked_until: datetime | None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One logged-in browser with its account."""

    account: AccountRow
    csrf_token: str
    last_seen_at: datetime
    expires_at: datetime


def find_account(journal: Journal, login: str) -> AccountRow | None:
    """Return the account of this login; the hub's, also a disabled one, stands before a local one."""
    rows = journal.read("SELECT * FROM accounts WHERE login = ? ORDER BY origin = 'hub' DESC", (login,))
    return _account(rows[0]) if rows else None


def list_accounts(journal: Journal) -> list[AccountRow]:
    """Return every account, by login."""
    return [_account(row) for row in journal.read("SELECT * FROM accounts ORDER BY login, origin")]


def names_of(journal: Journal) -> dict[str, str]:
    """Return the name of each account by its id."""
    return {row["account_id"]: row["display_name"] for row in journal.read("SELECT * FROM accounts")}


def add_local_account(connection: sqlite3.Connection, account: AccountRow) -> None:
    """Make an account that only this gateway knows.

    Raises:
        sqlite3.IntegrityError: another local account has this login.
    """
    connection.execute(
        "INSERT INTO accounts (account_id, origin, login, display_name, role, language, password_hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            account.account_id,
            LOCAL,
            account.login,
            account.display_name,
            account.role,
            account.language,
            account.password_hash,
        ),
    )


def set_local_password(connection: sqlite3.Connection, login: str, password_hash: str) -> bool:
    """Change a local account's password, open its lock and end its sessions; return whether there is one."""
    changed = connection.execute(
        "UPDATE accounts SET password_hash = ?, failed_logins = 0, locked_until = NULL"
        " WHERE origin = 'local' AND login = ?",
        (password_hash, login),
    ).rowcount
    _end_sessions(connection, login)
    return changed == 1


def disable_local_account(connection: sqlite3.Connection, login: str, now: datetime) -> bool:
    """Disable a local account and end its sessions; return whether there is one."""
    changed = connection.execute(
        "UPDATE accounts SET disabled_at = ? WHERE origin = 'local' AND login = ?", (to_text(now), login)
    ).rowcount
    _end_sessions(connection, login)
    return changed == 1


def take_over_accounts(journal: Journal, records: Sequence[AccountRecord], version: str, now: datetime) -> None:
    """Make the hub's accounts here what the hub says they are.

    Accounts that the hub no longer names are disabled. Whoever is disabled, or got another password, is logged out.
    """
    with journal.transaction() as connection:
        before = {row["account_id"]: row for row in connection.execute("SELECT * FROM accounts WHERE origin = 'hub'")}
        named = {record.account_id for record in records}
        # Two accounts may have exchanged their logins: nobody holds one while they are written.
        connection.execute("UPDATE accounts SET login = account_id WHERE origin = 'hub'")
        for record in records:
            _write_hub_account(connection, record, now)
        for account_id, old in before.items():
            if account_id not in named:
                connection.execute(
                    "UPDATE accounts SET login = ?, disabled_at = coalesce(disabled_at, ?) WHERE account_id = ?",
                    (f"{old['login']} ({account_id})", to_text(now), account_id),
                )
        changed = [
            record.account_id
            for record in records
            if record.account_id in before and before[record.account_id]["password_hash"] != record.password_hash
        ]
        connection.executemany("DELETE FROM sessions WHERE account_id = ?", [(one,) for one in changed])
        connection.execute(
            "DELETE FROM sessions WHERE account_id IN (SELECT account_id FROM accounts WHERE disabled_at IS NOT NULL)"
        )
        connection.execute("UPDATE hub_contact SET accounts_version = ?, accounts_at = ?", (version, to_text(now)))
        record_action(connection, now, HUB, "accounts_synced", version, accounts=len(records))


def confirm_accounts(journal: Journal, now: datetime) -> None:
    """Record that the hub still says of its accounts what is here."""
    with journal.transaction() as connection:
        connection.execute("UPDATE hub_contact SET accounts_at = ?", (to_text(now),))


def note_attempt(
    connection: sqlite3.Connection, account_id: str, failed_logins: int, locked_until: datetime | None
) -> None:
    """Record how many logins in a row have failed, and until when none is tried any more."""
    connection.execute(
        "UPDATE accounts SET failed_logins = ?, locked_until = ? WHERE account_id = ?",
        (failed_logins, to_text(locked_until) if locked_until else None, account_id),
    )


def failed_logins_of(connection: sqlite3.Connection, account_id: str) -> tuple[int, datetime | None]:
    """Return how many logins in a row have failed and until when the account is locked, within a transaction."""
    row = connection.execute(
        "SELECT failed_logins, locked_until FROM accounts WHERE account_id = ?", (account_id,)
    ).fetchone()
    return row["failed_logins"], from_text(row["locked_until"]) if row["locked_until"] else None


def open_session(
    connection: sqlite3.Connection,
    token_sha256: str,
    account_id: str,
    csrf_token: str,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Record a new session; those that are over go."""
    connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (to_text(now),))
    connection.execute(
        "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)",
        (token_sha256, account_id, csrf_token, to_text(now), to_text(now), to_text(expires_at)),
    )


def find_session(journal: Journal, token_sha256: str) -> SessionRow | None:
    """Return the session of a token, also one that is over."""
    rows = journal.read(
        "SELECT s.csrf_token, s.last_seen_at, s.expires_at, a.* FROM sessions s JOIN accounts a USING (account_id)"
        " WHERE s.token_sha256 = ?",
        (token_sha256,),
    )
    if not rows:
        return None
    row = rows[0]
    return SessionRow(_account(row), row["csrf_token"], from_text(row["last_seen_at"]), from_text(row["expires_at"]))


def touch_session(journal: Journal, token_sha256: str, now: datetime) -> None:
    """Record that its person has just done something."""
    with journal.transaction() as connection:
        connection.execute("UPDATE sessions SET last_seen_at = ? WHERE token_sha256 = ?", (to_text(now), token_sha256))


def close_session(connection: sqlite3.Connection, token_sha256: str) -> None:
    """End a session; an unknown one is no error."""
    connection.execute("DELETE FROM sessions WHERE token_sha256 = ?", (token_sha256,))


def _write_hub_account(connection: sqlite3.Connection, record: AccountRecord, now: datetime) -> None:
    connection.execute(
        "INSERT INTO accounts (account_id, origin, login, display_name, role, language, password_hash, disabled_at)"
        " VALUES (?1, 'hub', ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (account_id) DO UPDATE SET login = ?2,"
        " display_name = ?3, role = ?4, language = ?5, password_hash = ?6,"
        " disabled_at = CASE WHEN ?7 IS NULL THEN NULL ELSE coalesce(disabled_at, ?7) END",
        (
            record.account_id,
            record.login,
            record.display_name,
            record.role,
            record.language,
            record.password_hash,
            to_text(now) if record.disabled else None,
        ),
    )


def _end_sessions(connection: sqlite3.Connection, login: str) -> None:
    connection.execute(
        "DELETE FROM sessions WHERE account_id IN"
        " (SELECT account_id FROM accounts WHERE origin = 'local' AND login = ?)",
        (login,),
    )


def _account(row: sqlite3.Row) -> AccountRow:
    return AccountRow(
        account_id=row["account_id"],
        origin=row["origin"],
        login=row["login"],
        display_name=row["display_name"],
        role=row["role"],
        language=row["language"],
        password_hash=row["password_hash"],
        disabled_at=from_text(row["disabled_at"]) if row["disabled_at"] else None,
        failed_logins=row["failed_logins"],
        locked_until=from_text(row["locked_until"]) if row["locked_until"] else None,
    )
