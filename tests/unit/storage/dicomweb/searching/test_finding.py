"""Which searches name few studies by themselves."""

from __future__ import annotations

import pytest

from storage.dicomweb.searching.finding import is_narrow
from storage.dicomweb.searching.keys import Level
from storage.dicomweb.searching.parsing import parse_search


@pytest.mark.parametrize(
    ("pairs", "narrow"),
    [
        ([], False),
        ([("PatientID", "1")], True),
        ([("PatientID", "1*")], False),
        ([("PatientName", "王^芳")], True),
        ([("PatientName", "王?")], False),
        ([("PatientName", "wangfang"), ("fuzzymatching", "true")], False),
        ([("PatientName", "wangfang"), ("fuzzymatching", "true"), ("AccessionNumber", "A")], True),
        ([("StudyDate", "20260301"), ("ModalitiesInStudy", "CT")], False),
        ([("SOPInstanceUID", "1.2")], True),
    ],
)
def test_single_number_or_name_is_narrow(pairs: list[tuple[str, str]], narrow: bool) -> None:
    assert is_narrow(parse_search(pairs, Level.INSTANCE)) is narrow
