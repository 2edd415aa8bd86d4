"""What a DICOMweb request can fail with; each has its HTTP status and words for a person.

DicomwebError
├── BadQuery        400
├── StudyNotFound   404   (also when the caller may not see it)
├── FrameNotFound   404
├── BulkDataNotFound 404
├── ThumbnailNotFound 404
├── NotAcceptable   406
├── StudyAmbiguous  409
├── InstanceDamaged 410
├── RangeNotThere   416
├── BytesMissing    500
├── StoreSilent     503   (with Retry-After)
└── SearchTooLong   503
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class DicomwebError(Exception):
    """Base; the docstring is the default message."""

    status = 500
    code = "internal"
    headers: Mapping[str, str] = MappingProxyType({})

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


class ThumbnailNotFound(DicomwebError):
    """There is no thumbnail: nothing of this is an image."""

    status, code = 404, "thumbnail_not_found"


class NotAcceptable(DicomwebError):
    """None of the media types that the request accepts can be given."""

    status, code = 406, "not_acceptable"


class InstanceDamaged(DicomwebError):
    """The stored bytes are damaged; the site has been asked to send them again."""

    status, code = 410, "instance_damaged"


class StudyAmbiguous(DicomwebError):
    """Two sites you may see sent a study under this UID; open it from the case that you read."""

    status, code = 409, "study_ambiguous"


class RangeNotThere(DicomwebError):
    """What is asked for begins behind the end."""

    status, code = 416, "range_not_there"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"there are {size_bytes} bytes")
        self.headers = {"Content-Range": f"bytes */{size_bytes}"}


class BytesMissing(DicomwebError):
    """The hub's object store has lost these images' bytes; tell whoever runs the hub."""

    status, code = 500, "bytes_missing"


class StoreSilent(DicomwebError):
    """The hub's object store does not answer at the moment; try again shortly."""

    status, code = 503, "store_unavailable"
    headers = MappingProxyType({"Retry-After": "5"})  # seconds


class SearchTooLong(DicomwebError):
    """The search takes too long; narrow it, for example by a patient, an accession number or a few days."""

    status, code = 503, "search_too_long"
