"""Why a use case refused: one tree, mapped once to an HTTP answer by the web adapters.

    HubError
    ├── NotAuthenticated            401
    ├── Forbidden                   403
    │   ├── NotOffered
    │   ├── NotHolder
    │   ├── AuthorMayNotVerify
    │   ├── LicenceNotValid
    │   ├── AgreementNotInForce
    │   ├── ModalityNotRead
    │   ├── TitleTooLow
    │   └── ReauthenticationNeeded
    ├── NotFound                    404
    ├── Conflict                    409
    │   ├── AlreadyClaimed
    │   ├── WrongState
    │   ├── StaleDraft
    │   ├── ImagesUnacknowledged
    │   ├── ImagesChanged
    │   ├── OrderChangeUnseen
    │   ├── IdentityInDoubt
    │   ├── IdentityUnconfirmed
    │   └── WorkInProgressFull
    ├── Invalid                     422
    │   ├── TextNotAcceptable
    │   └── ConfirmationNeeded
    ├── TooManyAttempts             429
    └── Unavailable                 503

A class docstring is the default message: words for the person who reads them, never patient data.
"""

from __future__ import annotations

from typing import ClassVar


class HubError(Exception):
    """The hub could not do this."""

    code: ClassVar[str] = "hub_error"
    status: ClassVar[int] = 500
    retry_after_s: ClassVar[int] = 0  # after which asking again may help, 0 where it does not

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        super().__init__(self.detail)


class NotAuthenticated(HubError):
    """Log in first."""

    code = "not_authenticated"
    status = 401


class Forbidden(HubError):
    """Your account has no right to this."""

    code = "forbidden"
    status = 403


class NotOffered(Forbidden):
    """This reading task is not offered to you."""

    code = "not_offered"


class NotHolder(Forbidden):
    """You do not hold this reading task; its claim may have expired. The draft is kept."""

    code = "not_holder"


class AuthorMayNotVerify(Forbidden):
    """The author of a report cannot verify it: a second physician must sign."""

    code = "author_may_not_verify"


class LicenceNotValid(Forbidden):
    """Your licence to practise is not valid today, so you cannot take or sign work."""

    code = "licence_not_valid"


class AgreementNotInForce(Forbidden):
    """No agreement in force lets you read this case as it is now; others are asked."""

    code = "agreement_not_in_force"


class ModalityNotRead(Forbidden):
    """Images of a modality that you do not read have come to this case; others are asked."""

    code = "modality_not_read"


class TitleTooLow(Forbidden):
    """Only an attending or more senior physician verifies and signs a colleague's report."""

    code = "title_too_low"


class ReauthenticationNeeded(Forbidden):
    """Give your password again: a signature needs a recent one."""

    code = "reauthentication_needed"


class NotFound(HubError):
    """There is no such thing, or you may not see it."""

    code = "not_found"
    status = 404


class Conflict(HubError):
    """Things have moved on; look again."""

    code = "conflict"
    status = 409


class AlreadyClaimed(Conflict):
    """Another physician has taken this reading task."""

    code = "already_claimed"


class WrongState(Conflict):
    """This cannot be done in the case's present state."""

    code = "wrong_state"


class StaleDraft(Conflict):
    """The draft was saved elsewhere in the meantime; load it again before you go on."""

    code = "stale_draft"


class ImagesUnacknowledged(Conflict):
    """Images arrived, or the study was corrected, after the claim; look and acknowledge it before you sign."""

    code = "images_unacknowledged"


class ImagesChanged(Conflict):
    """The images of this case are not those that you were shown; look at what it shows now."""

    code = "images_changed"

    def __init__(self, arrived_count: int = 0) -> None:
        came = f"{arrived_count} more images arrived since you were shown this case" if arrived_count else None
        super().__init__(f"{came}; look at them first." if came else None)
        self.arrived_count = arrived_count


class OrderChangeUnseen(Conflict):
    """The site changed an order of this case after the claim; look and confirm it before you sign."""

    code = "order_change_unseen"


class IdentityInDoubt(Conflict):
    """Order and images do not seem to be of one person; the site or a coordinator has to settle that first."""

    code = "identity_in_doubt"


class IdentityUnconfirmed(Conflict):
    """Order and images do not seem to be of one person; confirm that you have checked it before you sign."""

    code = "identity_unconfirmed"


class WorkInProgressFull(Conflict):
    """You hold as many reading tasks as your limit allows; finish or release one first."""

    code = "work_in_progress_full"


class Invalid(HubError):
    """The request does not make sense."""

    code = "invalid"
    status = 422


class TextNotAcceptable(Invalid):
    """The text cannot be signed as it stands."""

    code = "text_not_acceptable"

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class ConfirmationNeeded(Invalid):
    """The text may contradict itself; confirm that it is meant."""

    code = "confirmation_needed"

    def __init__(self, warnings: tuple[str, ...]) -> None:
        self.warnings = warnings
        super().__init__("; ".join(warnings))


class TooManyAttempts(HubError):
    """Too many attempts; wait a little."""

    code = "too_many_attempts"
    status = 429
    retry_after_s = 10


class Unavailable(HubError):
    """A part of the hub cannot be reached; try again shortly."""

    code = "unavailable"
    status = 503
    retry_after_s = 5
