"""What a reader takes, and in which form it is given (RFC 9110 section 12.5, PS3.18 section 8.7). Pure.

Lenient where real clients are: parameters need no quotes, and `application/octet-stream` with a transfer syntax, or
with `*`, names frames in any form. Nothing said means: as it is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from storage.dicom.elements import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from storage.dicomweb.errors import NotAcceptable

ANY: Final = "*"
ANYTHING: Final = "*/*"
DICOM: Final = "application/dicom"
OCTET_STREAM: Final = "application/octet-stream"
JSON_TYPES: Final = ("application/dicom+json", "application/json")
DICOM_XML: Final = "application/dicom+xml"
ACCEPT_CHARACTERS_MAX: Final = 8192
_PARAMETER: Final = re.compile(r'([^=\s]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|(\S*))')
_SEPARATED: Final = {sign: re.compile(rf'(?:[^"{sign}]|"(?:[^"\\]|\\.)*")+') for sign in ",;"}
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9a-z-]+"  # noqa: S105 -- a token of HTTP
_MEDIA_TYPE: Final = re.compile(rf"{_TOKEN}/{_TOKEN}")


@dataclass(frozen=True, slots=True)
class Taken:
    """One thing that a reader takes: of a multipart answer what its parts are, else the answer itself.

    `is_multipart` is None where both will do; `syntax` is None where it is not said.
    """

    media_type: str
    is_multipart: bool | None
    syntax: str | None
    quality: float

    def covers(self, media_type: str) -> bool:
        """Return whether this media type is among those that are meant."""
        main = media_type.partition("/")[0]
        return self.media_type in (ANYTHING, f"{main}/*", media_type)


@dataclass(frozen=True, slots=True)
class FileForm:
    """How Part 10 files are given: in one part each or bare, and in which transfer syntaxes, the dearest first.

    `by_default`: the syntax was not said, so what has no such form is given as it is stored (PS3.5 section 10.1).
    """

    is_multipart: bool
    syntaxes: tuple[tuple[float, str], ...]
    by_default: bool

    def in_order(self, stored: str, received: str | None) -> list[str]:
        """Return the syntaxes to try for one file; among equals that in which it lies, then that in which it came."""

        def rank(wish: tuple[float, str]) -> tuple[float, bool, bool]:
            quality, syntax = wish
            return -quality, syntax not in (ANY, stored), syntax != received

        return [stored if syntax == ANY else syntax for _, syntax in sorted(self.syntaxes, key=rank)]

    def is_as_stored(self, stored: str, received: str | None) -> bool:
        """Return whether a file is given as it lies there."""
        return self.in_order(stored, received)[0] == stored


@dataclass(frozen=True, slots=True)
class Offer:
    """One form in which frames can be given."""

    media_type: str
    syntax: str

    @property
    def content_type(self) -> str:
        """The Content-Type of a frame in this form."""
        return f"{self.media_type}; transfer-syntax={self.syntax}"


def parse_accept(values: Iterable[str]) -> list[Taken]:
    """Return what is taken, the dearest first; what cannot be read is passed over.

    Raises:
        NotAcceptable: it is longer than any reader needs.
    """
    text = ",".join(values)
    if len(text) > ACCEPT_CHARACTERS_MAX:
        raise NotAcceptable(f"Accept has more than {ACCEPT_CHARACTERS_MAX} characters")
    if not text.strip():
        return [Taken(ANYTHING, None, None, 1.0)]
    found = [_parse_one(one) for one in _split(text, ",")]
    taken = [one for one in found if one is not None and one.quality > 0]
    return sorted(taken, key=lambda one: -one.quality)


def choose_json(taken: Sequence[Taken]) -> None:
    """Return when JSON is taken. Raises NotAcceptable."""
    if not any(one.is_multipart is not True and any(one.covers(kind) for kind in JSON_TYPES) for one in taken):
        raise NotAcceptable(f"this is given as {JSON_TYPES[0]}")


def choose_datasets(taken: Sequence[Taken], *, one: bool) -> Taken | None:
    """Return the wish for XML that is met, or None for JSON; `one` when there is a single dataset, which may be bare.

    Raises:
        NotAcceptable: neither is taken.
    """
    for wish in taken:
        if wish.is_multipart is not True and any(wish.covers(kind) for kind in JSON_TYPES):
            return None
        if wish.covers(DICOM_XML) and (wish.is_multipart or one):
            return wish
    bare = f" or {DICOM_XML}" if one else ""
    raise NotAcceptable(f'this is given as {JSON_TYPES[0]}, or as multipart/related; type="{DICOM_XML}"{bare}')


def choose_files(taken: Sequence[Taken], *, one: bool) -> FileForm:
    """Return how to give Part 10 files; `one` when there is a single one, which needs no multipart.

    Raises:
        NotAcceptable: in no form that is taken.
    """
    fitting = [
        wish
        for wish in taken
        if wish.covers(DICOM) and (wish.is_multipart is not False or (one and wish.media_type != ANYTHING))
    ]
    if not fitting:
        bare = f" or, one by one, {DICOM}" if one else ""
        raise NotAcceptable(f'instances are given as multipart/related; type="{DICOM}"{bare}')
    is_multipart = fitting[0].is_multipart is not False
    same = [wish for wish in fitting if (wish.is_multipart is not False) == is_multipart]
    syntaxes = tuple((wish.quality, _syntax_of_files(wish)) for wish in same)
    return FileForm(is_multipart, syntaxes, by_default=any(wish.syntax is None for wish in same))


def is_first_choice(taken: Sequence[Taken], offer: Offer, *, one: bool) -> bool:
    """Return whether nothing could be dearer than this form."""
    return bool(taken) and _is_packed(taken[0], one=one) and _fits(taken[0], offer)


def choose_frames(taken: Sequence[Taken], offers: Sequence[Offer], *, one: bool) -> tuple[bool, Offer]:
    """Return whether frames are given in a multipart answer, and in which form; the first offer is the stored one.

    Raises:
        NotAcceptable: in no form that is taken; the message lists those that there are.
    """
    for wish in taken:
        if not _is_packed(wish, one=one):
            continue
        for offer in offers:
            if _fits(wish, offer):
                return wish.is_multipart is not False, offer
        if wish.media_type == OCTET_STREAM and wish.syntax is None:
            return wish.is_multipart is not False, offers[0]  # there is nothing but a lossy form
    forms = "; ".join(offer.content_type for offer in offers)
    raise NotAcceptable(f"frames are given as multipart/related, or one frame alone, in one of these forms: {forms}")


def choose_bytes(taken: Sequence[Taken]) -> bool:
    """Return whether a long value is given in a multipart answer. Raises NotAcceptable."""
    for wish in taken:
        if wish.covers(OCTET_STREAM):
            return wish.is_multipart is not False
    raise NotAcceptable(
        f'long values are given as {OCTET_STREAM}, alone or in multipart/related; type="{OCTET_STREAM}"'
    )


def choose_images(taken: Sequence[Taken], types: Sequence[str], *, one: bool) -> tuple[bool, str]:
    """Return whether pictures are given in a multipart answer, and as which of these types; the first is the usual one.

    `one` when there is a single picture, which comes alone unless a multipart answer is asked for.

    Raises:
        NotAcceptable: in no form that is taken.
    """
    for wish in taken:
        if wish.is_multipart is False and not one:
            continue
        for media_type in types:
            if wish.covers(media_type):
                return wish.is_multipart is True or not one, media_type
    shape = "alone or in multipart/related" if one else "in multipart/related, for there are many; or one by one"
    raise NotAcceptable(f"this is shown as {' or '.join(types)}, {shape}")


def takes_gzip(accept_encoding: str) -> bool:
    """Return whether the reader takes a gzip answer (RFC 9110 section 12.5.3)."""
    qualities = {}
    for one in _split(accept_encoding, ","):
        coding, *parameters = _split(one, ";") or [""]
        qualities[coding.strip().lower()] = _quality(dict(_parameters(parameters)))
    return qualities.get("gzip", qualities.get(ANY, 0.0)) > 0


def _syntax_of_files(wish: Taken) -> str:
    if wish.syntax is None:
        return EXPLICIT_LITTLE_ENDIAN if wish.media_type == DICOM else ANY
    return wish.syntax


def _is_packed(wish: Taken, *, one: bool) -> bool:
    """Return whether the answer may have the shape of this wish: many frames are never given alone."""
    return wish.is_multipart is not False or one


def _fits(wish: Taken, offer: Offer) -> bool:
    if wish.syntax is None:
        if wish.media_type == OCTET_STREAM:
            return offer.media_type == OCTET_STREAM and offer.syntax == EXPLICIT_LITTLE_ENDIAN
        return wish.covers(offer.media_type)
    if wish.media_type != OCTET_STREAM and not wish.covers(offer.media_type):
        return False
    wanted = EXPLICIT_LITTLE_ENDIAN if wish.syntax == IMPLICIT_LITTLE_ENDIAN else wish.syntax  # the same samples
    return wanted in (ANY, offer.syntax)


def _parse_one(text: str) -> Taken | None:
    media_type, *rest = _split(text, ";") or [""]
    media_type, parameters = _media_type(media_type), dict(_parameters(rest))
    syntax = parameters.get("transfer-syntax") or None
    quality = _quality(parameters)
    if media_type in ("multipart/related", "multipart/*"):
        part = _media_type(parameters.get("type", ANYTHING))
        return Taken(part, is_multipart=True, syntax=syntax, quality=quality) if _MEDIA_TYPE.fullmatch(part) else None
    is_multipart = None if media_type == ANYTHING else False
    return Taken(media_type, is_multipart, syntax, quality) if _MEDIA_TYPE.fullmatch(media_type) else None


def _media_type(text: str) -> str:
    """Return a media type as it is compared; a `+` that came in a query is a blank by now."""
    return re.sub(r"(?<=\w) (?=\w)", "+", text.strip()).lower()


def _parameters(texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in texts:
        found = _PARAMETER.fullmatch(text.strip())
        if found is not None:
            quoted, plain = found[2], found[3]
            yield found[1].lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain


def _quality(parameters: dict[str, str]) -> float:
    text = parameters.get("q", "1")
    return float(text) if re.fullmatch(r"[01](\.[0-9]{0,3})?", text) else 0.0


def _split(text: str, sign: str) -> list[str]:
    """Return what stands between the signs that are outside of quotes."""
    return _SEPARATED[sign].findall(text)
