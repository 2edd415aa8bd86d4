"""Which children serve which queues."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from reading_queue.settings import HubSettings, WorkerSettings, serving
from reading_queue.worker.jobs import JOBS
from reading_queue.worker.queues import CREWS, QUEUES, Crew
from storage.configuration import ConfigurationError


def test_every_queue_belongs_to_one_crew() -> None:
    assert sorted(queue for queues in CREWS.values() for queue in queues) == sorted(QUEUES)


def test_by_default_everything_is_served_and_routing_shares_its_child_with_nobody() -> None:
    assert WorkerSettings().crews == (
        Crew("routing", ("routing",), 1),
        Crew("ordinary", ("transfers", "documents", "metadata"), 2),
        Crew("large", ("large",), 1),
        Crew("background", ("background",), 1),
    )


def test_long_jobs_wait_in_no_queue_but_the_large_one() -> None:
    assert {job.queue for job in JOBS.values() if job.time_limit_s is not None} == {"large"}


def test_a_fast_and_a_heavy_worker_share_the_queues() -> None:
    fast = serving(HubSettings(), "routing, transfers,documents,metadata")
    heavy = serving(HubSettings(worker=WorkerSettings(large_concurrency=4)), "large,background")
    assert [crew.name for crew in fast.worker.crews] == ["routing", "ordinary"]
    assert heavy.worker.crews == (Crew("large", ("large",), 4), Crew("background", ("background",), 1))


@pytest.mark.parametrize("named", ["", " , ", "routing,nowhere", "large,large"])
def test_a_list_that_cannot_be_served_is_refused(named: str) -> None:
    with pytest.raises(ConfigurationError):
        serving(HubSettings(), named)
    with pytest.raises(ValidationError):
        WorkerSettings(queues=[one.strip() for one in named.split(",") if one.strip()])


def test_only_the_background_steps_back_when_processors_are_scarce() -> None:
    niceness = {crew.name: crew.niceness for crew in WorkerSettings().crews}
    assert niceness.pop("background") > 0
    assert set(niceness.values()) == {0}
