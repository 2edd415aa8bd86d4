"""Logging in to the console: names, passwords, sessions. Works with the line down.

Durable: accounts, failed attempts, sessions (only the SHA-256 of their tokens), and a line of the audit trail for each
attempt. A password is checked outside every transaction: argon2 takes its time on purpose.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.console.errors import AccountsTooOld, LoginRefused
from gateway.journal import accounts as journal_accounts
from gateway.journal.accounts import HUB, LOCAL, AccountRow
from gateway.journal.actions import COMMAND_LINE, record_action
from gateway.journal.database import Journal
from gateway.journal.hub_news import load_contact
from storage.contract.identifiers import new_id

TOUCH_EVERY: Final = timedelta(seconds=60)
TOKEN_BYTES: Final = 32
ROLES: Final = ("technician", "physician", "coordinator")
LANGUAGES: Final = ("zh", "en")
PASSWORD_CHARACTERS_MIN: Final = 8
PASSWORD_HASHER: Final = PasswordHasher()
_ONE_AT_A_TIME: Final = threading.Lock()  # each hash takes 64 MiB for its moment; a small box has them once


@dataclass(frozen=True, slots=True)
class AccountRules:
    """How long a session lasts, how long it may rest, when logins lock, how old the hub's word may be."""

    session: timedelta
    idle: timedelta
    failed_logins_max: int
    login_lock: timedelta
    offline: timedelta


@dataclass(frozen=True, slots=True)
class Viewer:
    """A logged-in person."""

    account_id: str
    login: str
    display_name: str
    role: str
    language: str
    csrf_token: str


class LocalAccountTaken(Exception):
    """Another local account has this login."""


class PasswordTooShort(Exception):
    """The password is shorter than PASSWORD_CHARACTERS_MIN characters."""


def login(journal: Journal, rules: AccountRules, name: str, password: str, now: datetime) -> str:
    """Check the password and return the new session's secret token.

    An unknown name costs the same time as a wrong password. After `failed_logins_max` failures in a row the account is
    locked for `login_lock`; a right password does not open it earlier. Every attempt is a line of the audit trail.

    Raises:
        LoginRefused: in every case of refusal but
        AccountsTooOld: name and password are right, and the hub has not confirmed its accounts for too long.
    """
    account = journal_accounts.find_account(journal, name)
    right = _matches(account.password_hash if account else _hash_of_nobody(), password)
    with journal.transaction() as connection:
        refusal = _judge(connection, rules, account, now, right=right)
        subject = account.account_id if account else "unknown"
        if refusal is not None:
            record_action(connection, now, subject, "login_refused", subject, reason=refusal)
    if refusal is not None or account is None:
        raise LoginRefused
    if account.origin == HUB and accounts_are_too_old(journal, rules, now):
        raise AccountsTooOld
    token = secrets.token_urlsafe(TOKEN_BYTES)
    csrf_token = secrets.token_urlsafe(TOKEN_BYTES)
    with journal.transaction() as connection:
        journal_accounts.open_session(
            connection, _digest(token), account.account_id, csrf_token, now, now + rules.session
        )
        record_action(connection, now, account.account_id, "login", account.account_id)
    return token


def find_viewer(
    journal: Journal, rules: AccountRules, token: str, now: datetime, *, active: bool = True
) -> Viewer | None:
    """Return who holds this token; None when it is unknown, over, idle too long, or the account is not good any more.

    `active=False`: a page that refreshes itself keeps nobody logged in.
    """
    session = journal_accounts.find_session(journal, _digest(token))
    if session is None or session.expires_at <= now or session.last_seen_at <= now - rules.idle:
        return None
    account = session.account
    if account.disabled_at is not None or (account.origin == HUB and accounts_are_too_old(journal, rules, now)):
        return None
    if active and session.last_seen_at <= now - TOUCH_EVERY:
        journal_accounts.touch_session(journal, _digest(token), now)
    return Viewer(
        account_id=account.account_id,
        login=account.login,
        display_name=account.display_name,
        role=account.role,
        language=account.language,
        csrf_token=session.csrf_token,
    )


def logout(journal: Journal, viewer: Viewer, token: str, now: datetime) -> None:
    """End the session."""
    with journal.transaction() as connection:
        journal_accounts.close_session(connection, _digest(token))
        record_action(connection, now, viewer.account_id, "logout", viewer.account_id)


def accounts_are_too_old(journal: Journal, rules: AccountRules, now: datetime) -> bool:
    """Return whether the hub has not confirmed its accounts for longer than they are good without it."""
    confirmed_at = load_contact(journal).accounts_at
    return confirmed_at is not None and now - confirmed_at > rules.offline


def make_local_account(journal: Journal, name: str, display_name: str, role: str, password: str, now: datetime) -> None:
    """Make an account that only this gateway knows, for the time before its enrolment.

    Raises:
        LocalAccountTaken, PasswordTooShort.
    """
    account = AccountRow(
        account_id=new_id(),
        origin=LOCAL,
        login=name,
        display_name=display_name,
        role=role,
        language="zh",
        password_hash=_hash(password),
        disabled_at=None,
        failed_logins=0,
        locked_until=None,
    )
    try:
        with journal.transaction() as connection:
            journal_accounts.add_local_account(connection, account)
            record_action(connection, now, COMMAND_LINE, "account_made", account.account_id, role=role)
    except sqlite3.IntegrityError as exc:
        raise LocalAccountTaken from exc


def change_local_password(journal: Journal, name: str, password: str, now: datetime) -> bool:
    """Give a local account another password; return whether there is one. Raises PasswordTooShort."""
    password_hash = _hash(password)
    with journal.transaction() as connection:
        changed = journal_accounts.set_local_password(connection, name, password_hash)
        record_action(connection, now, COMMAND_LINE, "password_changed", "local_account", found=changed)
    return changed


def disable_local_account(journal: Journal, name: str, now: datetime) -> bool:
    """Let a local account in no more; return whether there is one."""
    with journal.transaction() as connection:
        changed = journal_accounts.disable_local_account(connection, name, now)
        record_action(connection, now, COMMAND_LINE, "account_disabled", "local_account", found=changed)
    return changed


def _judge(
    connection: sqlite3.Connection, rules: AccountRules, account: AccountRow | None, now: datetime, *, right: bool
) -> str | None:
    """Count one attempt in the caller's transaction and return why it may not pass, None when it may."""
    if account is None:
        return "unknown_login"
    failed, locked_until = journal_accounts.failed_logins_of(connection, account.account_id)
    if account.disabled_at is not None:
        return "disabled"
    if locked_until is not None and now < locked_until <= now + rules.login_lock:
        return "locked"
    if right:
        journal_accounts.note_attempt(connection, account.account_id, 0, None)
        return None
    if failed + 1 >= rules.failed_logins_max:
        journal_accounts.note_attempt(connection, account.account_id, 0, now + rules.login_lock)
        return "locked_now"
    journal_accounts.note_attempt(connection, account.account_id, failed + 1, None)
    return "wrong_password"


def _hash(password: str) -> str:
    if len(password) < PASSWORD_CHARACTERS_MIN:
        raise PasswordTooShort
    return PASSWORD_HASHER.hash(password)


def _matches(password_hash: str, password: str) -> bool:
    try:
        with _ONE_AT_A_TIME:
            return PASSWORD_HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _hash_of_nobody() -> str:
    """Return a hash that no password has, made once, so that unknown names take as long as known ones."""
    return PASSWORD_HASHER.hash(secrets.token_urlsafe(TOKEN_BYTES))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
