"""Accounts and sessions: who a browser or an API client is, and until when.

Durable: accounts, failed attempts, sessions (only the SHA-256 of their tokens). Nothing is kept in the process, so a
restart logs nobody out. A password is hashed outside every transaction: argon2 takes its time on purpose.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import ColumnElement, Select, delete, select, update
from sqlalchemy.orm import Session as DatabaseSession

from reading_queue.db.tables import Account, Organisation, Physician, Session
from reading_queue.domain.roles import Role
from reading_queue.errors import Conflict, Forbidden, Invalid, NotAuthenticated
from reading_queue.services.access.visibility import Viewer, viewer_of
from reading_queue.services.hub import Hub
from reading_queue.services.network.network_versions import NOBODY_KNOWN, Author, record_person
from reading_queue.services.worklists.desk_events import tell_sessions
from storage.contract.identifiers import new_id
from storage.ledger.tables import AuditEvent

USER_AUTHENTICATION: Final = "110114"  # DCM, PS3.16 CID 400
TOUCH_EVERY_S: Final = 60  # last_seen_at is written at most this often
TOKEN_BYTES: Final = 32
LANGUAGES: Final = ("zh", "en")
PASSWORD_CHARACTERS_MIN: Final = 8
PASSWORD_CHARACTERS_MAX: Final = 256
SECURITY_ATTRIBUTES_CHANGED: Final = "110137"  # DCM: User Security Attributes Changed
PASSWORD_HASHER: Final = PasswordHasher()


class LoginRefused(NotAuthenticated):
    """Name or password is wrong, or the account is locked or disabled; which of them is not told."""

    code = "login_refused"


class PasswordChangeNeeded(Forbidden):
    """Choose a password of your own first: somebody else knows the present one."""

    code = "password_change_needed"


class PasswordNotAcceptable(Invalid):
    """The new password is the old one, or not 8 to 256 characters long; nothing was changed."""

    code = "password_not_acceptable"


class LoginTaken(Conflict):
    """Another account has this login."""

    code = "login_taken"


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made."""

    login: str
    display_name: str
    password: str
    role: Role
    organisation_id: str
    language: str = "zh"


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """What a successful login gives: the secret token for the client alone, and the token its forms must carry."""

    token: str
    csrf_token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that is neither expired nor of a disabled account."""

    viewer: Viewer
    csrf_token: str
    kind: str  # "browser" or "api"
    password_temporary: bool = False  # may do nothing before it is changed


def create_account(
    hub: Hub, new: NewAccount, *, author: Author = NOBODY_KNOWN, hasher: PasswordHasher = PASSWORD_HASHER
) -> str:
    """Make the account and return its id; `author` is who does. Raises LoginTaken."""
    password_hash = hasher.hash(new.password)
    with hub.transaction() as session:
        if session.scalar(select(Account.account_id).where(Account.login == new.login)) is not None:
            raise LoginTaken("another account has this login")
        account = account_row(new, password_hash, hub.clock())
        session.add(account)
        session.flush()
        record_person(session, account, hub.clock(), author)
        return account.account_id


def account_row(new: NewAccount, password_hash: str, now: datetime) -> Account:
    """Return the row of a new account, not yet added to a session."""
    return Account(
        account_id=new_id(),
        login=new.login,
        display_name=new.display_name,
        password_hash=password_hash,
        role=new.role.value,
        organisation_id=new.organisation_id,
        language=new.language,
        created_at=now,
        disabled_at=None,
        last_day=None,
        failed_logins=0,
        locked_until=None,
    )


def login(hub: Hub, login: str, password: str, kind: str) -> LoggedIn:
    """Check the password and open a session of `kind` "browser" or "api".

    An unknown login costs the same time as a wrong password. After `policy.failed_logins_max` failures in a row the
    account is locked for `policy.login_lock_s`; a right password does not open it earlier. Every attempt is audited.

    Raises:
        LoginRefused: in every case of refusal.
    """
    account_id = _check_password(hub, Account.login == login, password)
    now = hub.clock()
    token, csrf = secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES)
    expires_at = now + timedelta(seconds=hub.policy.session_max_s)
    with hub.transaction() as session:
        session.execute(delete(Session).where(Session.account_id == account_id, Session.expires_at <= now))
        session.add(
            Session(
                token_sha256=_digest(token),
                account_id=account_id,
                csrf_token=csrf,
                kind=kind,
                created_at=now,
                last_seen_at=now,
                expires_at=expires_at,
                authenticated_at=now,
            )
        )
    return LoggedIn(token, csrf, expires_at)


def logout(hub: Hub, token: str) -> None:
    """End the session; unknown tokens are no error."""
    with hub.transaction() as session:
        account_id = session.scalar(
            delete(Session).where(Session.token_sha256 == _digest(token)).returning(Session.account_id)
        )
        if account_id is not None:
            tell_sessions(session)
            _audit(session, hub.clock(), account_id, "success", step="logout")


def find_viewer(hub: Hub, token: str) -> Viewer | None:
    """Return who holds this token, or None when it is unknown, expired, idle too long, or the account disabled.

    Raises:
        PasswordChangeNeeded.
    """
    live = find_session(hub, token)
    if live is not None and live.password_temporary:
        raise PasswordChangeNeeded
    return live.viewer if live is not None else None


def find_session(hub: Hub, token: str, *, active: bool = True) -> LiveSession | None:
    """Return the live session of a token, or None. `active=False`: a page refreshing itself keeps nobody logged in."""
    now = hub.clock()
    with hub.transaction() as session:
        row = session.execute(_live_sessions(hub, now).where(Session.token_sha256 == _digest(token))).one_or_none()
        if row is None:
            return None
        if active and row.Session.last_seen_at <= now - timedelta(seconds=TOUCH_EVERY_S):
            row.Session.last_seen_at = now
        return _live_session(*row)


def find_sessions(hub: Hub, tokens: Collection[str]) -> dict[str, LiveSession]:
    """Return the live sessions among these tokens; looking at them keeps nobody logged in."""
    by_digest = {_digest(token): token for token in tokens}
    with hub.transaction() as session:
        rows = session.execute(_live_sessions(hub, hub.clock()).where(Session.token_sha256.in_(by_digest)))
        return {by_digest[row.Session.token_sha256]: _live_session(*row) for row in rows}


def _live_sessions(hub: Hub, now: datetime) -> Select[Session, Account, str | None, str | None]:
    return (
        select(Session, Account, Organisation.site_id, Physician.physician_id)
        .join(Account, Account.account_id == Session.account_id)
        .join(Organisation, Organisation.organisation_id == Account.organisation_id)
        .outerjoin(Physician, Physician.account_id == Account.account_id)
        .where(
            Session.expires_at > now,
            Session.last_seen_at > now - timedelta(seconds=hub.policy.session_idle_s),
            Account.disabled_at.is_(None),
        )
    )


def _live_session(live: Session, account: Account, site_id: str | None, physician_id: str | None) -> LiveSession:
    viewer = viewer_of(account, site_id, physician_id, live.authenticated_at)
    return LiveSession(viewer, live.csrf_token, live.kind, account.password_temporary)


def reauthenticate(hub: Hub, token: str, password: str) -> datetime:
    """Check the password again within a session and return the time from which signing is allowed again.

    Failures count towards the account's lock.

    Raises:
        LoginRefused: the password is wrong, the account locked, or the session over.
    """
    live = find_session(hub, token)
    if live is None:
        raise LoginRefused("the session is over: log in again")
    _check_password(hub, Account.account_id == live.viewer.account_id, password)
    now = hub.clock()
    with hub.transaction() as session:
        session.execute(update(Session).where(Session.token_sha256 == _digest(token)).values(authenticated_at=now))
    return now


def change_password(hub: Hub, token: str, password: str, new: str, *, hasher: PasswordHasher = PASSWORD_HASHER) -> None:
    """Let who holds the session choose another password; their other sessions end. Audited.

    Raises:
        LoginRefused: the present password is wrong, the account locked, or the session over.
        PasswordNotAcceptable.
    """
    live = find_session(hub, token)
    if live is None:
        raise LoginRefused("the session is over: log in again")
    account_id = live.viewer.account_id
    _check_password(hub, Account.account_id == account_id, password)
    if new == password or not PASSWORD_CHARACTERS_MIN <= len(new) <= PASSWORD_CHARACTERS_MAX:
        raise PasswordNotAcceptable
    password_hash, now = hasher.hash(new), hub.clock()
    with hub.transaction() as session:
        values = {"password_hash": password_hash, "password_temporary": False}
        session.execute(update(Account).where(Account.account_id == account_id).values(values))
        others = delete(Session).where(Session.account_id == account_id, Session.token_sha256 != _digest(token))
        session.execute(others)
        tell_sessions(session)
        session.execute(update(Session).where(Session.token_sha256 == _digest(token)).values(authenticated_at=now))
        audit_password(session, now, account_id, account_id, "changed")


def audit_password(
    session: DatabaseSession, now: datetime, by: str | None, account_id: str, step: str, **detail: str
) -> None:
    """Write down who changed whose password."""
    session.add(
        AuditEvent(
            at=now,
            event_code=SECURITY_ATTRIBUTES_CHANGED,
            action="U",
            account_id=by,
            object_kind="account",
            object_id=account_id,
            site_id=None,
            outcome="success",
            detail={"password": step, **detail},
        )
    )


def set_language(hub: Hub, viewer: Viewer, language: str) -> None:
    """Remember the language of the account's pages, one of LANGUAGES."""
    if language not in LANGUAGES:
        raise ValueError(f"language must be one of {', '.join(LANGUAGES)}")
    with hub.transaction() as session:
        session.execute(update(Account).where(Account.account_id == viewer.account_id).values(language=language))


def _check_password(hub: Hub, which: ColumnElement[bool], password: str) -> str:
    """Return the id of the account whose password this is; count and audit the attempt. Raises LoginRefused."""
    with hub.transaction() as session:
        found = session.execute(select(Account.account_id, Account.password_hash).where(which)).one_or_none()
    account_id, password_hash = found if found is not None else (None, _hash_of_nobody())
    right = _matches(password_hash, password)
    with hub.transaction() as session:
        accepted = _record_attempt(hub, session, account_id, right=right)
    if account_id is None or not accepted:
        raise LoginRefused("name or password is wrong, or the account is locked for a while")
    return account_id


def _record_attempt(hub: Hub, session: DatabaseSession, account_id: str | None, *, right: bool) -> bool:
    """Write down one attempt under the account's row lock and return whether it may pass."""
    now, policy = hub.clock(), hub.policy
    if account_id is None:
        _audit(session, now, None, "failure", reason="unknown_login")
        return False
    account = session.get_one(Account, account_id, with_for_update=True)
    reason = _refusal(account, now, right=right)
    if reason is None:
        account.failed_logins, account.locked_until = 0, None
        _audit(session, now, account_id, "success")
        return True
    if reason == "wrong_password":
        account.failed_logins += 1
        if account.failed_logins >= policy.failed_logins_max:
            account.failed_logins = 0
            account.locked_until = now + timedelta(seconds=policy.login_lock_s)
            reason = "locked_now"
    _audit(session, now, account_id, "failure", reason=reason)
    return False


def _refusal(account: Account, now: datetime, *, right: bool) -> str | None:
    if account.disabled_at is not None:
        return "disabled"
    if account.locked_until is not None and account.locked_until > now:
        return "locked"
    return None if right else "wrong_password"


def _matches(password_hash: str, password: str) -> bool:
    try:
        return PASSWORD_HASHER.verify(password_hash, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


@cache
def _hash_of_nobody() -> str:
    """Return a hash that no password has, made once, so that unknown logins take as long as known ones."""
    return PASSWORD_HASHER.hash(secrets.token_urlsafe(TOKEN_BYTES))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _audit(session: DatabaseSession, now: datetime, account_id: str | None, outcome: str, **detail: Any) -> None:
    session.add(
        AuditEvent(
            at=now,
            event_code=USER_AUTHENTICATION,
            action="E",
            account_id=account_id,
            object_kind="account",
            object_id=account_id or "unknown",
            site_id=None,
            outcome=outcome,
            detail=detail,
        )
    )
