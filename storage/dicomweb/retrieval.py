"""Which stored instances an answer holds, in the order in which the store reads them best. Reads the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, TypeVarTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from storage.catalogue.holdings import is_damaged
from storage.catalogue.shown import NONE, Also, is_shown
from storage.catalogue.tables import Instance, Pack, Series, Study
from storage.dicomweb.catalogue_queries import StoredInstance, parse_address_uid
from storage.dicomweb.errors import InstanceDamaged, NotAcceptable, StudyNotFound
from storage.dicomweb.stored_body import StoredBody

T = TypeVar("T")
Columns = TypeVarTuple("Columns")

DAMAGED_NAMED_MAX: Final = 10
_READING_ORDER: Final = (
    Series.number.nulls_last(),
    Series.series_uid,
    Instance.number.nulls_last(),
    Instance.sop_instance_uid,
)


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


@dataclass(frozen=True, slots=True)
class Retrieved(Generic[T]):
    """What can be given of a study, a series or an instance, and the SOP Instance UIDs of what is damaged."""

    given: list[T]
    damaged: list[str]

    @property
    def notes(self) -> tuple[str, ...]:
        """Return in words what is left out."""
        if not self.damaged:
            return ()
        return (f"Damaged instances are left out, their site was asked to send them again: {some_of(self.damaged)}",)


def files_of(session: Session, study: Study, words: Mapping[str, str], also: Also = NONE) -> Retrieved[StoredFile]:
    """Return the files of a study, or of the series or instance that `words` name, as they lie pack by pack.

    Raises:
        StudyNotFound: there is none.
        InstanceDamaged: the bytes of all of them are damaged.
    """
    columns = (
        Instance.sop_instance_uid,
        is_damaged(),
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
    statement = _asked(select(*columns), study, words, also).order_by(Pack.object_key, Instance.offset_bytes)
    rows = session.execute(statement).all()
    return _retrieved([StoredFile(*row[2:]) for row in rows if not row[1]], [row[0] for row in rows if row[1]])


def images_of(session: Session, study: Study, words: Mapping[str, str]) -> Retrieved[tuple[StoredInstance, str]]:
    """Return the images of a study or of a series with the UIDs of their series, in a reader's order.

    Raises:
        StudyNotFound: there is no instance.
        InstanceDamaged: the bytes of all images are damaged.
        NotAcceptable: there is no image.
    """
    columns = (Instance, Pack.object_key, Series.series_uid, is_damaged())
    rows = session.execute(_asked(select(*columns), study, words).order_by(*_READING_ORDER)).all()
    if not rows:
        raise StudyNotFound
    images = [row for row in rows if row[0].frame_count]
    if not images:
        raise NotAcceptable("none of the instances is an image, so there is nothing to show")
    given = [(StoredInstance(instance, key), uid) for instance, key, uid, damaged in images if not damaged]
    return _retrieved(given, [row[0].sop_instance_uid for row in images if row[3]])


def find_typical(session: Session, study: Study, words: Mapping[str, str]) -> tuple[StoredInstance, str] | None:
    """Return the image in the middle of a series, or of the study's first one with images; None without any.

    Raises:
        StudyNotFound: there is no instance.
        InstanceDamaged: the bytes of all images are damaged.
    """
    images = _asked(select(Series.series_id, Series.number, Series.series_uid, func.count()), study, words)
    images = images.where(Instance.frame_count > 0).group_by(Series.series_id)
    images = images.order_by(Series.number.nulls_last(), Series.series_uid)
    first = session.execute(images.where(~is_damaged()).limit(1)).one_or_none()
    if first is None:
        if session.execute(_asked(select(Instance.instance_id), study, words).limit(1)).first() is None:
            raise StudyNotFound
        if session.execute(images.limit(1)).first() is not None:
            raise InstanceDamaged
        return None
    series_id, _, series_uid, count = first
    middle = (
        _asked(select(Instance, Pack.object_key), study, words)
        .where(Series.series_id == series_id, Instance.frame_count > 0, ~is_damaged())
        .order_by(*_READING_ORDER)
        .offset((count - 1) // 2)
        .limit(1)
    )
    instance, key = session.execute(middle).one()
    return StoredInstance(instance, key), series_uid


def damaged_of(session: Session, study: Study, words: Mapping[str, str], also: Also = NONE) -> list[str]:
    """Return the SOP Instance UIDs of what is damaged."""
    statement = _asked(select(Instance.sop_instance_uid), study, words, also).where(is_damaged())
    return list(session.scalars(statement.order_by(Instance.sop_instance_uid)))


def some_of(uids: Sequence[str]) -> str:
    """Return how many there are, and the first of them."""
    return f"{len(uids)} ({', '.join(uids[:DAMAGED_NAMED_MAX])}{', ...' * (len(uids) > DAMAGED_NAMED_MAX)})"


def _retrieved(given: list[T], damaged: list[str]) -> Retrieved[T]:
    if not given and not damaged:
        raise StudyNotFound
    if not given:
        raise InstanceDamaged
    return Retrieved(given, damaged)


def headers_keys_of(session: Session, study: Study, words: Mapping[str, str], also: Also = NONE) -> list[str]:
    """Return the keys of the headers of all packs that hold something of what `words` name.

    Raises:
        StudyNotFound: there is none.
    """
    asked = _asked(select(Pack.headers_key), study, words, also)
    keys = list(session.scalars(asked.distinct().order_by(Pack.headers_key)))
    if not keys:
        raise StudyNotFound
    return keys


def _asked(statement: Select[*Columns], study: Study, words: Mapping[str, str], also: Also = NONE) -> Select[*Columns]:
    """Return the statement with the shown instances of a study, or of its series or instance that `words` name."""
    statement = (
        statement.join_from(Instance, Series, Series.series_id == Instance.series_id)
        .join(Pack, Pack.pack_id == Instance.pack_id)
        .where(Series.study_id == study.study_id, is_shown(also))
    )
    if "series" in words:
        statement = statement.where(Series.series_uid == parse_address_uid(words["series"]))
    if "instance" in words:
        statement = statement.where(Instance.sop_instance_uid == parse_address_uid(words["instance"]))
    return statement
