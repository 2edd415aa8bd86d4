"""The limits and times of the reading side, as one value that the configuration fills in."""

from __future__ import annotations

from dataclasses import dataclass, field

from reading_queue.domain.routing import UNNAMED, WORKLOAD_POINTS, WORKLOAD_POINTS_DEFAULT


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits and times of the reading side; every one is a configuration key of `[policy]`."""

    offer_width: int = 3  # physicians to whom one reading task is offered at once
    offer_ttl_s: int = 900
    lease_s: int = 900
    hold_max_s: int = 24 * 3600  # a reader who waits for the site keeps the case for this long
    reauthentication_s: int = 900  # a signature needs a password given this recently
    grant_ttl_s: int = 3600
    nonce_ttl_s: int = 300
    session_idle_s: int = 8 * 3600
    session_max_s: int = 24 * 3600
    director_answer_s: int = 600  # what no duty director acknowledges in this time goes to the next one up the line
    dead_job_rest_s: int = 3600  # a job that failed for good is left to a person for this long
    outbox_keep_s: int = 24 * 3600  # a launch that was published longer ago than this leaves the outbox
    order_messages_keep_days: int = 90  # HL7 messages that nothing has to be done about any more
    enrolment_ttl_s: int = 7 * 24 * 3600
    failed_logins_max: int = 8
    login_lock_s: int = 300
    page_size_max: int = 200
    priors_max: int = 5  # earlier studies that a site's gateway is asked to fetch for one case
    prior_years_max: int = 5  # and how old they may be
    scrub_every_days: int = 30  # how often all stored bytes are read and compared with their digests
    scrub_gib_per_hour: int = 50  # and how much of them at most in one hour
    deposit_bytes_max: int = 2 * 1024**3  # one request that stores instances over DICOMweb
    deposit_disk_floor_bytes: int = 2 * 1024**3  # of data_dir's disk, which deposits never take
    keep_outpatient_years: int = 15  # after the patient's last visit; emergencies too
    keep_inpatient_years: int = 30  # and of whom it is not known how they came
    consult_limit_min: dict[str, int] = field(  # from the question to the opinion of the hospital that is asked
        default_factory=lambda: {"stat": 20, "urgent": 60, "routine": 480, "background": 1440}
    )
    green_channel_limit_min: dict[str, int] = field(  # from the start of the exam to the signature
        default_factory=lambda: {
            "stroke": 30,
            "chest_pain": 45,
            "trauma": 45,
            "maternal": 45,
            "neonatal": 45,
            "other": 60,
        }
    )
    workload_points: dict[str, int] = field(  # what reading one study counts, in hundredths of one CT, by modality
        default_factory=lambda: {**WORKLOAD_POINTS, UNNAMED: WORKLOAD_POINTS_DEFAULT}
    )
    time_limit_default_min: dict[str, int] = field(
        default_factory=lambda: {"stat": 120, "urgent": 240, "routine": 1440, "background": 4320}
    )
