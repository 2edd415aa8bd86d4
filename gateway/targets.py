"""The places at the clinic to which reports are delivered: their settings. Pure.

Which documents a kind of place is given stands in one table, `DOCUMENTS_OF`; a target's `takes` is what its own
settings leave of it. The receipts name it, so that the hub knows when the whole report is at home.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from storage.contract.delivery import TargetKind
from storage.contract.wire import DocumentKind

AE_TITLE_CHARACTERS_MAX: Final = 16  # PS3.8 section 9.3.2
DOCUMENTS_OF: Final[Mapping[TargetKind, tuple[DocumentKind, ...]]] = {
    TargetKind.PACS: (DocumentKind.SR, DocumentKind.PDF),
    TargetKind.HL7: (DocumentKind.REPORT_JSON,),  # the message is made of it
    TargetKind.FOLDER: (DocumentKind.REPORT_JSON, DocumentKind.SR, DocumentKind.PDF),
    TargetKind.PRINT: (DocumentKind.REPORT_JSON,),  # the page is made of it
}
# Kinds of places that keep one state of a report: what is older than they have must not come after it.
KEEPS_NEWEST_ONLY: Final = frozenset({TargetKind.HL7, TargetKind.PRINT})
FOLDER_MARKER: Final = ".counterpart-folder"
FILE_NAME_FIELDS: Final = frozenset(
    {"case_id", "document_id", "report_version", "study_uid", "accession_number", "patient_number", "patient_name"}
)


def _parse_ae_title(text: str) -> str:
    title = text.strip()
    if not title or len(title) > AE_TITLE_CHARACTERS_MAX or "\\" in title or not title.isprintable():
        raise ValueError("an AE title has 1 to 16 printable characters and no backslash (PS3.5 section 6.2)")
    return title


def _parse_name_pattern(text: str) -> str:
    try:
        fields = {name for _, name, form, turn in string.Formatter().parse(text) if name is not None or form or turn}
    except ValueError as exc:
        raise ValueError(f"the pattern of file names cannot be read: {exc}") from exc
    if unknown := fields - FILE_NAME_FIELDS:
        known = ", ".join(sorted(FILE_NAME_FIELDS))
        raise ValueError(f"file names have no field {sorted(map(str, unknown))[0]!r}; there are {known}")
    if "document_id" not in fields and not {"case_id", "report_version"} <= fields:
        raise ValueError(
            "file names need {case_id} and {report_version}, or {document_id}: else reports meet in one name"
        )
    return text


AeTitle = Annotated[str, AfterValidator(_parse_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Hl7Name = Annotated[str, Field(max_length=180, pattern=r"^[^\x00-\x1f|^~\\&]*$")]


class Section(BaseModel):
    """One table of the configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Target(Section):
    name: Name

    @property
    def target(self) -> str:
        """Return the name by which journal and receipts know this target."""
        return f"{TargetKind(self.kind)}:{self.name}"  # type: ignore[attr-defined]  # each kind of target has its own

    @property
    def takes(self) -> tuple[DocumentKind, ...]:
        """Return the kinds of documents that this target is given."""
        return DOCUMENTS_OF[TargetKind(self.kind)]  # type: ignore[attr-defined]


class PacsTarget(_Target):
    """A PACS: C-STORE of SR and encapsulated PDF.

    `character_set` is the one in which it gets its texts; the signed objects are ISO_IR 192, and old systems read only
    one of the others. `documents` leaves out what it refuses. `tls` needs [dicom.tls], this gateway's certificate.
    """

    kind: Literal["pacs"] = "pacs"
    host: str = Field(min_length=1)
    port: Port
    ae_title: AeTitle
    timeout_s: Seconds = 30.0
    tls: bool = False
    tls_server_name: str | None = None
    character_set: Literal["ISO_IR 192", "GB18030", "GBK", "ISO 2022 IR 58"] = "ISO_IR 192"
    documents: tuple[Literal["sr", "pdf"], ...] = Field(default=("sr", "pdf"), min_length=1)

    @property
    def takes(self) -> tuple[DocumentKind, ...]:
        """Return the kinds of documents that this PACS is given."""
        return tuple(kind for kind in DOCUMENTS_OF[TargetKind.PACS] if kind in self.documents)


class MessageSettings(Section):
    """How an ORU^R01 is written for one receiver (HL7 2.5.1 chapters 2 and 7).

    `acknowledgement`: "original" leaves MSH-15 and MSH-16 empty, "enhanced" asks for both acknowledgements. A
    resident's identity number is sent only when `national_id` allows it, also where it is the patient's number.
    """

    character_set: Literal["UNICODE UTF-8", "GB 18030-2000"] = "UNICODE UTF-8"
    sending_application: Hl7Name = "COUNTERPART"
    sending_facility: Hl7Name = ""
    receiving_application: Hl7Name = "HIS"
    receiving_facility: Hl7Name = ""
    acknowledgement: Literal["original", "enhanced"] = "original"
    pdf: bool = True
    national_id: bool = False


class Hl7Target(_Target):
    """A HIS: ORU^R01 over MLLP; delivered when its application acknowledgement says AA.

    Under TLS its certificate must be signed by `ca_file` and bear `tls_server_name`, or the host where that is empty.
    """

    kind: Literal["hl7"]
    host: str = Field(min_length=1)
    port: Port
    timeout_s: Seconds = 30.0
    tls: bool = False
    ca_file: Path | None = None  # certificates to trust instead of the system's
    certificate_file: Path | None = None  # who we are, where the HIS asks for it
    key_file: Path | None = None
    tls_server_name: str | None = Field(default=None, min_length=1)
    message: MessageSettings = MessageSettings()

    @model_validator(mode="after")
    def _files_need_tls(self) -> Hl7Target:
        if not self.tls and (self.ca_file or self.certificate_file or self.key_file or self.tls_server_name):
            raise ValueError("ca_file, certificate_file, key_file and tls_server_name need tls = true")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self


class FolderTarget(_Target):
    """A folder or share: one file for each of `contents`, named by `file_name`.

    The folder must hold the file `marker`, so that an unmounted share is never taken for the folder; empty asks for
    none. `file_mode` is that of the files, in octal.
    """

    kind: Literal["folder"]
    path: Path
    contents: tuple[Literal["pdf", "sr", "json", "hl7"], ...] = Field(default=("pdf",), min_length=1)
    file_name: Annotated[str, AfterValidator(_parse_name_pattern)] = "{case_id}-v{report_version}"
    marker: str = Field(default=FOLDER_MARKER, pattern=r"^[^/\x00]*$")
    file_mode: str = Field(default="640", pattern=r"^[0-7]{3}$")
    message: MessageSettings = MessageSettings()

    @property
    def takes(self) -> tuple[DocumentKind, ...]:
        """Return the kinds of documents of which this folder gets files."""
        sources = {"pdf": DocumentKind.PDF, "sr": DocumentKind.SR}
        wanted = {sources.get(content, DocumentKind.REPORT_JSON) for content in self.contents}
        return tuple(kind for kind in DOCUMENTS_OF[TargetKind.FOLDER] if kind in wanted)


class PrintTarget(_Target):
    """The console's print page: delivered when a person has opened or printed the report."""

    kind: Literal["print"]


def _kind_of(value: Any) -> str:
    """Return the kind of a table of the file; the first gateways knew only PACS and needed no word for it."""
    return str(value.get("kind", "pacs")) if isinstance(value, dict) else str(value.kind)


Target = Annotated[
    Annotated[PacsTarget, Tag("pacs")]
    | Annotated[Hl7Target, Tag("hl7")]
    | Annotated[FolderTarget, Tag("folder")]
    | Annotated[PrintTarget, Tag("print")],
    Discriminator(_kind_of),
]
CONSOLE: Final = PrintTarget(kind="print", name="console")
