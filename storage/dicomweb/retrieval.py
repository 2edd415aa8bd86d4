"""Which stored instances an answer holds, in the order in which the store reads them best. Reads the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVarTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from storage.catalogue.holdings import is_damaged
from storage.catalogue.tables import Instance, Pack, Series, Study
from storage.dicomweb.catalogue_queries import parse_address_uid
from storage.dicomweb.errors import InstanceDamaged, StudyNotFound
from storage.dicomweb.stored_body import StoredBody

Columns = TypeVarTuple("Columns")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One instance's Part 10 file: where it lies and in which form."""

    transfer_syntax_uid: str
    received_transfer_syntax_uid: str | None
    stored_sha256: str
    object_key: str
    offset_bytes: int
    size_bytes: int
    rows: int | None
    columns: int | None
    frame_count: int

    @property
    def samples(self) -> int:
        """The samples of all frames, each pixel counted once."""
        return (self.rows or 0) * (self.columns or 0) * max(self.frame_count, 1)

    @property
    def body(self) -> StoredBody:
        """The bytes of the file."""
        return StoredBody(self.object_key, ((self.offset_bytes, self.size_bytes),))

    @property
    def media_type(self) -> str:
        """The Content-Type of the file as it is stored."""
        return self.media_type_in(self.transfer_syntax_uid)

    @staticmethod
    def media_type_in(syntax: str) -> str:
        """Return the Content-Type of a file in a transfer syntax."""
        return f"application/dicom; transfer-syntax={syntax}"


def files_of(session: Session, study: Study, words: Mapping[str, str]) -> list[StoredFile]:
    """Return the files of a study, or of the series or instance that `words` name, as they lie pack by pack.

    Raises:
        StudyNotFound: there is none.
        InstanceDamaged: the bytes of one of them are damaged; the others are given one by one.
    """
    columns = (
        Instance.transfer_syntax_uid,
        Instance.received_transfer_syntax_uid,
        Instance.stored_sha256,
        Pack.object_key,
        Instance.offset_bytes,
        Instance.size_bytes,
        Instance.rows,
        Instance.columns,
        Instance.frame_count,
    )
    statement = _asked(select(*columns), study, words).order_by(Pack.object_key, Instance.offset_bytes)
    files = [StoredFile(*row) for row in session.execute(statement)]
    if not files:
        raise StudyNotFound
    if session.scalar(_asked(select(Instance.instance_id), study, words).where(is_damaged()).limit(1)) is not None:
        raise InstanceDamaged
    return files


def headers_keys_of(session: Session, study: Study, words: Mapping[str, str]) -> list[str]:
    """Return the keys of the headers of all packs that hold something of what `words` name.

    Raises:
        StudyNotFound: there is none.
    """
    keys = list(session.scalars(_asked(select(Pack.headers_key), study, words).distinct().order_by(Pack.headers_key)))
    if not keys:
        raise StudyNotFound
    return keys


def _asked(statement: Select[*Columns], study: Study, words: Mapping[str, str]) -> Select[*Columns]:
    """Return the statement with the instances of a study, or of its series or instance that `words` name."""
    statement = (
        statement.join_from(Instance, Series, Series.series_id == Instance.series_id)
        .join(Pack, Pack.pack_id == Instance.pack_id)
        .where(Series.study_id == study.study_id)
    )
    if "series" in words:
        statement = statement.where(Series.series_uid == parse_address_uid(words["series"]))
    if "instance" in words:
        statement = statement.where(Instance.sop_instance_uid == parse_address_uid(words["instance"]))
    return statement
