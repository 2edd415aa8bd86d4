"""Which modality a study is read as."""

from __future__ import annotations

import pytest

from reading_queue.domain.modality import most_telling


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
