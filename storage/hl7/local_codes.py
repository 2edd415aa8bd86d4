"""What a sender's own codes mean, as the settings say: the part of a message that no standard fixes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints

from storage.contract.orders import MODALITIES

CODE_CHARACTERS_MAX: Final = 64


def _modality(text: str) -> str:
    if text not in MODALITIES:
        raise ValueError("a modality is a code of DICOM such as CT, DX or US")
    return text


LocalCode = Annotated[str, StringConstraints(min_length=1, max_length=CODE_CHARACTERS_MAX, to_upper=True)]
Modality = Annotated[str, AfterValidator(_modality)]


@dataclass(frozen=True, slots=True)
class LocalCodes:
    """`modalities`: of codes of procedures (OBR-4) and departments (OBR-24) that do not say their modality themselves.

    Codes are in upper case.
    """

    modalities: Mapping[str, str] = field(default_factory=dict)
