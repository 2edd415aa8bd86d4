"""Why the console refused: one tree, turned into pages by its middlewares. A docstring is the default message."""

from __future__ import annotations

from typing import ClassVar


class ConsoleError(Exception):
    """The gateway could not do this."""

    code: ClassVar[str] = "console_error"
    status: ClassVar[int] = 500

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        super().__init__(self.detail)


class NotAuthenticated(ConsoleError):
    """Log in first."""

    code = "not_authenticated"
    status = 401


class LoginRefused(NotAuthenticated):
    """Name or password is wrong, or the account is locked or disabled; which of them is not told."""

    code = "login_refused"


class AccountsTooOld(NotAuthenticated):
    """The hub has not confirmed its accounts for too long."""

    code = "accounts_too_old"


class Forbidden(ConsoleError):
    """Your account has no right to this."""

    code = "forbidden"
    status = 403


class ForgeryRefused(Forbidden):
    """This request did not come from a page of ours; load the page again and repeat it."""

    code = "forgery_refused"


class NotFound(ConsoleError):
    """There is no such thing here."""

    code = "not_found"
    status = 404


class Conflict(ConsoleError):
    """Things have changed meanwhile; look again."""

    code = "conflict"
    status = 409


class Invalid(ConsoleError):
    """What was given is incomplete or wrong."""

    code = "invalid"
    status = 422


class BodyUnreadable(ConsoleError):
    """The request's body is not what its headers say."""

    code = "body_unreadable"
    status = 400
