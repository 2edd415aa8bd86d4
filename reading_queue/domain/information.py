"""What a reader may ask the site of a case for, and what became of the question. Pure."""

from __future__ import annotations

from enum import StrEnum


class Wanted(StrEnum):
    """What is missing."""

    HISTORY = "history"  # 病史
    LABORATORY = "laboratory"  # 化验结果
    PRIORS = "priors"  # 既往影像
    IMAGES = "images"  # 补扫或补传图像
    IDENTITY = "identity"  # 患者身份核对
    OTHER = "other"


class Outcome(StrEnum):
    """How a question ended."""

    ANSWERED = "answered"
    WENT_ON = "went_on"  # the reader read on without the answer
    LEFT = "left"  # the claim ended first: given back, taken over, run out, sent back or withdrawn
