"""Every fault has words, and both catalogues say the same with the same parameters."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from storage.contract.delivery import PARAMETER_CHARACTERS_MAX, WORDS, DeliveryFailure, DeliveryFault
from storage.contract.wire import Receipt

LOCALES = Path("reading_queue/web/locales")


def names(words: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", words))


@pytest.mark.parametrize("fault", DeliveryFault)
def test_a_fault_is_told_in_both_languages_with_the_same_parameters(fault: DeliveryFault) -> None:
    english, chinese = (
        json.loads((LOCALES / f"{language}.json").read_text(encoding="utf-8"))[f"fault.{fault}"]
        for language in ("en", "zh")
    )
    assert english == WORDS[fault]
    assert names(chinese) == names(english)


def test_words_are_cut_to_what_a_receipt_holds() -> None:
    failure = DeliveryFailure.of(DeliveryFault.HIS_ERROR, code="AE", said="错" * 1000)
    assert len(failure.params["said"]) == PARAMETER_CHARACTERS_MAX
    Receipt.model_validate(
        {
            "seq": 1,
            "step": "failed",
            "target": "hl7:his",
            "at": "2026-03-02T01:00:00Z",
            "reason": failure.words(),
            "code": failure.code,
            "params": failure.params,
        }
    )
