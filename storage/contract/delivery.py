"""Where a report is delivered at the clinic, and what can keep it from arriving: codes with parameters, on both sides.

Pure. A code never changes its meaning; pages put it into the reader's language, `words` says it in English. Parameters
are ids, addresses, numbers and, under the name `said`, the other system's own words: those may quote a patient, so they
are shown and stored, and never logged.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import Field

from storage.contract.manifest import WireModel

SAID: Final = "said"
PARAMETER_CHARACTERS_MAX: Final = 200


class TargetKind(StrEnum):
    """A kind of place at the clinic that takes reports; the first part of a receipt's `target`."""

    PACS = "pacs"  # C-STORE of SR and PDF
    HL7 = "hl7"  # ORU^R01 over MLLP to the HIS
    FOLDER = "folder"  # files in a directory or on a share
    PRINT = "print"  # the console's print page: delivered when a person has opened it


class DeliveryFault(StrEnum):
    """Why a document is not where it should be."""

    DOCUMENT_OTHER_LENGTH = "document_other_length"
    DOCUMENT_OTHER_DIGEST = "document_other_digest"
    DOCUMENT_NOT_STORED = "document_not_stored"
    DOCUMENT_MISSING = "document_missing"
    REPORT_UNREADABLE = "report_unreadable"
    DELIVERY_BROKE = "delivery_broke"
    TARGET_NOT_CONFIGURED = "target_not_configured"
    DELIVERY_CANCELLED = "delivery_cancelled"
    PACS_UNREACHABLE = "pacs_unreachable"
    PACS_TLS = "pacs_tls"
    PACS_REJECTS_US = "pacs_rejects_us"
    PACS_REJECTS_CONTEXT = "pacs_rejects_context"
    PACS_UNKNOWN_CALLING = "pacs_unknown_calling"
    PACS_UNKNOWN_CALLED = "pacs_unknown_called"
    PACS_BUSY = "pacs_busy"
    PACS_TAKES_NOTHING = "pacs_takes_nothing"
    PACS_CLASS_NOT_TAKEN = "pacs_class_not_taken"
    PACS_NO_ANSWER = "pacs_no_answer"
    PACS_OUT_OF_RESOURCES = "pacs_out_of_resources"
    PACS_DATA_SET_MISMATCH = "pacs_data_set_mismatch"
    PACS_CANNOT_UNDERSTAND = "pacs_cannot_understand"
    PACS_REFUSED = "pacs_refused"
    HIS_UNREACHABLE = "his_unreachable"
    HIS_TLS = "his_tls"
    HIS_BROKE_OFF = "his_broke_off"
    HIS_NO_ANSWER = "his_no_answer"
    HIS_NOT_PROCESSED = "his_not_processed"
    HIS_OTHER_ANSWER = "his_other_answer"
    HIS_GARBAGE = "his_garbage"
    HIS_ERROR = "his_error"
    HIS_REJECTED = "his_rejected"
    FOLDER_MISSING = "folder_missing"
    FOLDER_NOT_PREPARED = "folder_not_prepared"
    FOLDER_FULL = "folder_full"
    FOLDER_NOT_WRITABLE = "folder_not_writable"
    FOLDER_NAME_TAKEN = "folder_name_taken"


WORDS: Final[dict[DeliveryFault, str]] = {
    DeliveryFault.DOCUMENT_OTHER_LENGTH: "the document has {bytes} bytes, {signed} are signed",
    DeliveryFault.DOCUMENT_OTHER_DIGEST: "the document does not have the digest that is signed",
    DeliveryFault.DOCUMENT_NOT_STORED: "the document cannot be stored here: {error}",
    DeliveryFault.DOCUMENT_MISSING: "the document's file is missing in the spool",
    DeliveryFault.REPORT_UNREADABLE: "this gateway cannot read the signed report; install a newer version",
    DeliveryFault.DELIVERY_BROKE: "the gateway failed inside ({error}); its log has the traceback",
    DeliveryFault.DELIVERY_CANCELLED: "somebody at the site has given this delivery up",
    DeliveryFault.TARGET_NOT_CONFIGURED: "{target} is no longer in the configuration: add it again or cancel this",
    DeliveryFault.PACS_UNREACHABLE: "{where} cannot be reached or broke off the association",
    DeliveryFault.PACS_TLS: "{where} and this gateway do not agree on TLS: {error}",
    DeliveryFault.PACS_REJECTS_US: "{where} refused the association: it does not accept associations from us",
    DeliveryFault.PACS_REJECTS_CONTEXT: "{where} refused the association: it does not know the application context",
    DeliveryFault.PACS_UNKNOWN_CALLING: "{where} refused the association: it does not know our AE title {calling}",
    DeliveryFault.PACS_UNKNOWN_CALLED: "{where} refused the association: this is not its AE title",
    DeliveryFault.PACS_BUSY: "{where} refused the association for now: it has too many open",
    DeliveryFault.PACS_TAKES_NOTHING: "{where} accepts none of the kinds of object that are offered",
    DeliveryFault.PACS_CLASS_NOT_TAKEN: "the PACS does not take objects of class {sop_class}",
    DeliveryFault.PACS_NO_ANSWER: "the PACS broke off the association before it answered",
    DeliveryFault.PACS_OUT_OF_RESOURCES: "the PACS is out of resources (status {status})",
    DeliveryFault.PACS_DATA_SET_MISMATCH: "the PACS says that the data set does not match its SOP class"
    " (status {status})",
    DeliveryFault.PACS_CANNOT_UNDERSTAND: "the PACS cannot understand the data set (status {status})",
    DeliveryFault.PACS_REFUSED: "the PACS refused (status {status})",
    DeliveryFault.HIS_UNREACHABLE: "the HIS at {where} cannot be reached: {error}",
    DeliveryFault.HIS_TLS: "the HIS at {where} and this gateway do not agree on TLS: {error}",
    DeliveryFault.HIS_BROKE_OFF: "the HIS at {where} closed the connection before it answered",
    DeliveryFault.HIS_NO_ANSWER: "the HIS at {where} gave no answer within {seconds} s",
    DeliveryFault.HIS_NOT_PROCESSED: "the HIS at {where} took the message, and did not say within {seconds} s that it"
    " has processed it",
    DeliveryFault.HIS_OTHER_ANSWER: "the HIS at {where} answered another message, and not this one within {seconds} s",
    DeliveryFault.HIS_GARBAGE: "what the HIS at {where} answered is not an HL7 acknowledgement",
    DeliveryFault.HIS_ERROR: "the HIS found an error ({code}): {said}",
    DeliveryFault.HIS_REJECTED: "the HIS rejected the message ({code}): {said}",
    DeliveryFault.FOLDER_MISSING: "the folder {path} does not exist: is the share mounted?",
    DeliveryFault.FOLDER_NOT_PREPARED: "the folder {path} holds no file {marker}: mount the share, or create that empty"
    " file in it when this is the right folder",
    DeliveryFault.FOLDER_FULL: "the folder {path} is full",
    DeliveryFault.FOLDER_NOT_WRITABLE: "the folder {path} cannot be written: {error}",
    DeliveryFault.FOLDER_NAME_TAKEN: "the folder {path} holds another file under the name {name}",
}


class DeliveryFailure(WireModel):
    """A fault with its parameters."""

    code: DeliveryFault
    params: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, code: DeliveryFault, /, **params: object) -> DeliveryFailure:
        """Return the failure with its parameters as text, each cut to PARAMETER_CHARACTERS_MAX."""
        return cls(code=code, params={name: str(value)[:PARAMETER_CHARACTERS_MAX] for name, value in params.items()})

    def words(self) -> str:
        """Return the failure in English, for `status`, and for whoever does not know the code."""
        return WORDS[self.code].format_map(self.params)
