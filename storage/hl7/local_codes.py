"""What a sender's own codes mean, as the settings say: the part of a message that no standard fixes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from storage.contract.lanes import Lane
from storage.contract.orders import MODALITIES, GreenChannel

CODE_CHARACTERS_MAX: Final = 64


def _modality(text: str) -> str:
    if text not in MODALITIES:
        raise ValueError("a modality is a code of DICOM such as CT, DX or US")
    return text


LocalCode = Annotated[str, StringConstraints(min_length=1, max_length=CODE_CHARACTERS_MAX, to_upper=True)]
Modality = Annotated[str, AfterValidator(_modality)]


@dataclass(frozen=True, slots=True)
class LocalCodes:
    """The meanings of one sender's codes, which are in upper case. See `LocalCodesSection`."""

    modalities: Mapping[str, str] = field(default_factory=dict)
    urgencies: Mapping[str, Lane] = field(default_factory=dict)
    green_channels: Mapping[str, GreenChannel] = field(default_factory=dict)
    consents: Collection[str] = ()


class LocalCodesSection(BaseModel):
    """The keys of the settings that say what a sender's own codes mean.

    `modalities`: of codes of procedures (OBR-4) and departments (OBR-24) that do not say their modality themselves.
    `urgencies`: of codes of priority (TQ1-9, OBR-27.6, ORC-7.6, OBR-5) beside those of table 0485. `green_channels`: of
    codes at the same places that mean a green channel, whose orders are stat. `consents`: the types of consent (CON-2)
    and the observations (OBX-3) that say whether the patient agreed to the remote read; none is believed without.
    """

    modalities: dict[LocalCode, Modality] = Field(default_factory=dict)
    urgencies: dict[LocalCode, Lane] = Field(default_factory=dict)
    green_channels: dict[LocalCode, GreenChannel] = Field(default_factory=dict)
    consents: tuple[LocalCode, ...] = ()

    @property
    def codes(self) -> LocalCodes:
        """Return what the codes mean."""
        return LocalCodes(self.modalities, self.urgencies, self.green_channels, frozenset(self.consents))
