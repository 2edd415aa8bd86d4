"""The limits and times of the reading side, as one value that the configuration fills in."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits and times of the reading side; every one is a configuration key of `[policy]`."""

    offer_width: int = 3  # physicians to whom one reading task is offered at once
    offer_ttl_s: int = 900
    lease_s: int = 900
    reauthentication_s: int = 900  # a signature needs a password given this recently
    grant_ttl_s: int = 3600
    nonce_ttl_s: int = 300
    session_idle_s: int = 8 * 3600
    session_max_s: int = 24 * 3600
    dead_job_rest_s: int = 24 * 3600  # a job that failed for good is left to a person for this long
    outbox_keep_s: int = 24 * 3600  # a launch that was published longer ago than this leaves the outbox
    enrolment_ttl_s: int = 7 * 24 * 3600
    failed_logins_max: int = 8
    login_lock_s: int = 300
    page_size_max: int = 200
    time_limit_default_min: dict[str, int] = field(
        default_factory=lambda: {"stat": 120, "urgent": 240, "routine": 1440, "background": 4320}
    )
