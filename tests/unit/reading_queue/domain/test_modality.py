"""Which modality a study is read as."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from reading_queue.domain.consults import covers
from reading_queue.domain.modality import covers_regions, most_telling


@dataclass
class AgreementTerms:
    """What an agreement is about."""

    services: list[str]
    modalities: list[str]
    body_regions: list[str]


@pytest.mark.parametrize(
    ("modalities", "read_as"),
    [
        (["CT"], "CT"),
        (["SR", "CR", "CT"], "CT"),
        (["CT", "PT"], "PT"),
        (["PR", "ES"], "ES"),
        (["ct "], "CT"),
        (["SR"], "OT"),
        (["", "KO"], "OT"),
        ([], "OT"),
    ],
)
def test_a_study_is_read_as_its_most_telling_modality(modalities, read_as):
    assert most_telling(modalities) == read_as


@pytest.mark.parametrize(
    ("listed", "of_case", "covered"),
    [
        ([], "", True),
        (["CHEST"], "", False),  # unknown is none of them
        (["CHEST"], "CHEST", True),
        (["chest", "ABDOMEN"], "ABDOMEN/Chest", True),  # read together; written in any way
        (["CHEST"], "ABDOMEN/CHEST", False),
    ],
)
def test_an_agreement_covers_the_regions_of_a_case_all_or_not(listed, of_case, covered):
    assert covers_regions(listed, of_case) is covered
    terms = AgreementTerms(services=["consultation"], modalities=[], body_regions=listed)
    assert covers(terms, "CT", of_case) is covered
