"""Why a reading task ends without its work: CID 9303 Interpretation Request Discontinuation Reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class DiscontinuationReason(StrEnum):
    """A code value of the DICOM context group; the coding scheme is DCM."""

    DOCTOR_CANCELED = "110500"
    INCORRECT_PROCEDURE = "110502"
    PATIENT_DIED = "110504"
    CHANGED_FOR_CHARGING = "110509"
    DUPLICATE_ORDER = "110510"
    UNSPECIFIED = "110513"
    OBJECT_SET_INCOMPLETE = "110523"
    RESOURCE_PREEMPTED = "110526"  # also: the lease ran out
    ASSIGNMENT_REJECTED = "110530"
    INSUFFICIENT_QUALITY = "110531"
    NEEDS_SPECIALIST = "110532"


REASONS_ZH: Final[Mapping[DiscontinuationReason, str]] = {
    DiscontinuationReason.DOCTOR_CANCELED: "医师取消申请",
    DiscontinuationReason.INCORRECT_PROCEDURE: "检查项目开错",
    DiscontinuationReason.PATIENT_DIED: "患者死亡",
    DiscontinuationReason.CHANGED_FOR_CHARGING: "因收费更改检查项目",
    DiscontinuationReason.DUPLICATE_ORDER: "重复申请",
    DiscontinuationReason.UNSPECIFIED: "未说明原因",
    DiscontinuationReason.OBJECT_SET_INCOMPLETE: "影像不完整",
    DiscontinuationReason.RESOURCE_PREEMPTED: "阅片人被占用或超时",
    DiscontinuationReason.ASSIGNMENT_REJECTED: "阅片人不接受派单",
    DiscontinuationReason.INSUFFICIENT_QUALITY: "影像质量不足以诊断",
    DiscontinuationReason.NEEDS_SPECIALIST: "需要专科医师阅片",
}
