"""Not all earlier studies come: those that do not fit into an hour wait for the next, those beyond the number stay."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from gateway.bootstrap import open_journal
from gateway.clock import utc_now
from gateway.journal.database import to_text
from reading_queue.services.reading.priors import list_priors
from storage.contract.identifiers import Uid
from tests.integration.gateway_link.test_priors import EARLIER, OTHER, Clinic
from tests.integration.gateway_link.test_priors import clinic as clinic  # noqa: PLC0414 -- a fixture
from tests.integration.gateway_link.test_real_hub import PATIENCE_S
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres

BYTES_PER_HOUR_MAX = 1024**2
A_LITTLE_LATER = (utc_now() - timedelta(days=100)).strftime("%Y%m%d")
SIDE = 768  # pixels; a slice of two bytes each is more than an hour's bytes


def noise() -> dict[str, Any]:
    """Return a picture that no compression makes smaller."""
    pixels = np.random.default_rng(1).integers(0, 1 << 16, (SIDE, SIDE), dtype="<u2")
    return {"Rows": SIDE, "Columns": SIDE, "PixelData": pixels.tobytes()}


def fetched(clinic: Clinic) -> list[str]:
    rows = open_journal(clinic.settings).read("SELECT study_uid FROM prior_studies WHERE fetched_at IS NOT NULL")
    return [row["study_uid"] for row in rows]


def look_again(clinic: Clinic) -> None:
    """Have the request due now, as it is after its pause."""
    with open_journal(clinic.settings).transaction() as connection:
        connection.execute("UPDATE prior_requests SET next_attempt_at = ?", (to_text(utc_now()),))
    clinic.hurry()


def waits(clinic: Clinic) -> None:
    clinic.real.verify()
    clinic.hurry()
    rows = open_journal(clinic.settings).read("SELECT state, next_attempt_at, problem FROM prior_requests")
    assert [row["state"] for row in rows] == ["due"]
    assert rows[0]["next_attempt_at"] > to_text(utc_now() + timedelta(minutes=1))
    assert rows[0]["problem"] is None, "a limit is no trouble"


@pytest.mark.parametrize("clinic", [{"bytes_per_hour_max": BYTES_PER_HOUR_MAX}], indirect=True)
def test_what_does_not_fit_into_an_hour_waits_for_the_next(clinic: Clinic) -> None:
    clinic.archive.start(destinations={"COUNTERPART": clinic.port})
    clinic.archive.store(clinic.file(EARLIER, **noise()), clinic.file(OTHER, **noise()))
    clinic.examine()
    eventually(lambda: waits(clinic), PATIENCE_S, every_s=0.2)
    assert fetched(clinic) == [EARLIER]
    clinic.catalogued(EARLIER)
    look_again(clinic)
    eventually(lambda: waits(clinic), PATIENCE_S, every_s=0.2)
    assert fetched(clinic) == [EARLIER], "the hour is not over"

    with open_journal(clinic.settings).transaction() as connection:
        an_hour_ago = to_text(utc_now() - timedelta(hours=1))
        connection.execute("UPDATE instances SET received_at = ? WHERE study_uid = ?", (an_hour_ago, EARLIER))
    look_again(clinic)
    request = clinic.request(lambda one: one.state == "done")
    assert (request.found, request.fetched) == (2, 2)
    assert fetched(clinic) == [EARLIER, OTHER]


def test_one_that_the_pacs_does_not_send_holds_up_none_of_the_others(clinic: Clinic, tmp_path: Path) -> None:
    lost_study = Uid(f"{EARLIER}.9")
    clinic.archive.start(destinations={"COUNTERPART": clinic.port})
    clinic.archive.store(clinic.file(EARLIER), clinic.file(lost_study, date=A_LITTLE_LATER))  # is asked for first
    (kept,) = [path for path in clinic.archive.images() if dcmread(path).StudyInstanceUID == lost_study]
    lost = kept.rename(tmp_path / "lost")
    clinic.examine()

    def is_tried_again() -> None:
        clinic.real.verify()
        clinic.hurry()
        rows = open_journal(clinic.settings).read("SELECT attempts, problem FROM prior_requests")
        assert [row["attempts"] > 0 for row in rows] == [True]
        assert "did not send all of an earlier study" in rows[0]["problem"]

    eventually(is_tried_again, PATIENCE_S, every_s=0.2)
    assert fetched(clinic) == [EARLIER]
    clinic.catalogued(EARLIER)
    lost.rename(kept)
    look_again(clinic)
    request = clinic.request(lambda one: one.state == "done")
    assert (request.found, request.fetched) == (2, 2)
    clinic.catalogued(lost_study)


@pytest.mark.parametrize("clinic", [{"studies_max": 2}], indirect=True)
def test_two_of_five_earlier_studies_are_told_as_two_of_five(clinic: Clinic) -> None:
    studies = [Uid(f"{EARLIER}.{number}") for number in range(1, 6)]
    dates = [f"{utc_now().year - 2}010{number}" for number in range(1, 6)]
    clinic.archive.start(destinations={"COUNTERPART": clinic.port})
    clinic.archive.store(*(clinic.file(uid, date=date) for uid, date in zip(studies, dates, strict=True)))
    clinic.examine()
    request = clinic.request(lambda one: one.state == "done")
    for uid in studies[-2:]:
        clinic.catalogued(uid)
    with clinic.real.hub.transaction() as session:
        listed = list_priors(session, request.case_id)
    assert (listed.fetched, listed.found) == (2, 5)
    assert [one.study_uid for one in listed.studies] == [studies[4], studies[3]], "the newest"
