from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.errors import InstanceNotInSpool
from gateway.forwarder.decision import Step
from gateway.forwarder.failures import Consequence, Failure, consequence_of
from gateway.hub import HubBusy, HubRefused, HubUnreachable


def consequence(exc: Exception, step: Step, attempts: int = 1) -> Failure:
    return consequence_of(exc, step, attempts=attempts, in_queue=timedelta(0), jitter=1.0, max_s=60)


@pytest.mark.parametrize("step", list(Step))
def test_unreachable_hub_only_costs_time(step: Step) -> None:
    assert consequence(HubUnreachable("gone"), step) == Failure(Consequence.WAIT, "gone", 0.5)


def test_the_hubs_wish_to_wait_is_granted() -> None:
    assert consequence(HubBusy("busy", 90.0), Step.GRANT).delay_s == 90.0


@pytest.mark.parametrize(
    ("step", "status", "expected"),
    [
        (Step.DECLARE, 422, Consequence.WAIT),
        (Step.DECLARE, 404, Consequence.WAIT),
        (Step.GRANT, 404, Consequence.DECLARE_AGAIN),
        (Step.GRANT, 403, Consequence.WAIT),
        (Step.UPLOAD, 403, Consequence.GRANT_AGAIN),
        (Step.UPLOAD, 400, Consequence.GRANT_AGAIN),
        (Step.COMMIT, 409, Consequence.GRANT_AGAIN),
        (Step.COMMIT, 401, Consequence.WAIT),
        (Step.POLL, 410, Consequence.DECLARE_AGAIN),
        (Step.POLL, 403, Consequence.WAIT),
    ],
)
def test_refusals_lead_back_as_far_as_needed(step: Step, status: int, expected: Consequence) -> None:
    assert consequence(HubRefused(status, "code", "words"), step).consequence is expected


def test_expired_address_is_replaced_almost_at_once() -> None:
    assert consequence(HubRefused(403, "http_403", "expired"), Step.UPLOAD).delay_s <= 0.1


def test_missing_file_is_named_and_waits_long() -> None:
    failure = consequence(InstanceNotInSpool("instance 1.2 is not in ready"), Step.DECLARE)
    assert (failure.problem, failure.delay_s) == ("instance 1.2 is not in ready", 30.0)


def test_unforeseen_failure_shows_its_class_and_not_its_text() -> None:
    failure = consequence(RuntimeError("Zhang^San"), Step.POLL)
    assert failure.consequence is Consequence.UNFORESEEN
    assert "Zhang" not in failure.problem
