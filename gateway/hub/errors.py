"""What can go wrong between gateway and hub, sorted by what to do next."""

from __future__ import annotations


class HubError(Exception):
    """Base of what the hub client raises; the message is words for the technician, without patient data."""


class HubUnreachable(HubError):
    """No usable answer came: try again later."""


class HubBusy(HubError):
    """The hub asks to wait. `retry_after_s` is its wish, None when it named none."""

    def __init__(self, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class HubRefused(HubError):
    """The hub understood and refuses: the same request will be refused again."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code
        self.detail = detail
