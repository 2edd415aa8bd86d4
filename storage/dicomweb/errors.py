"""What a DICOMweb request can fail with; each has its HTTP status and words for a person.

DicomwebError
├── BadQuery        400
├── StudyNotFound   404   (also when the caller may not see it)
├── FrameNotFound   404
├── BulkDataNotFound 404
├── NotAcceptable   406
└── StudyAmbiguous  409
"""

from __future__ import annotations


class DicomwebError(Exception):
    """Base; the docstring is the default message."""

    status = 500
    code = "internal"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or (self.__doc__ or "").strip())


class BadQuery(DicomwebError):
    """The query cannot be understood."""

    status, code = 400, "bad_query"


class StudyNotFound(DicomwebError):
    """There is no such study, series or instance, or you may not see it."""

    status, code = 404, "not_found"


class FrameNotFound(DicomwebError):
    """The instance has no such frame; frames count from 1."""

    status, code = 404, "frame_not_found"


class BulkDataNotFound(DicomwebError):
    """The instance has no long binary value at this path."""

    status, code = 404, "bulk_data_not_found"


class NotAcceptable(DicomwebError):
    """None of the media types that the request accepts can be given."""

    status, code = 406, "not_acceptable"


class StudyAmbiguous(DicomwebError):
    """Two sites you may see sent a study under this UID; open it from the case that you read."""

    status, code = 409, "study_ambiguous"
