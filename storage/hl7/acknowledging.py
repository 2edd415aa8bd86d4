"""Whether a message is one that is taken here at all, and what answers it (HL7 2.5.1 sections 2.9, 2.14). Pure.

Original mode: one application acknowledgement, AA, AE or AR, for each message.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from storage.hl7.faults import NAMES, ErrorCode, Fault, MessageRejected
from storage.hl7.framing import CUT
from storage.hl7.message import (
    CHARACTER_SETS,
    CONTROL_ID_CHARACTERS_MAX,
    Message,
    MessageUnreadable,
    composite,
    encode,
    escape,
    header,
    parse_message,
    segment,
    try_parse,
)

APPLICATION: Final = "COUNTERPART"
VERSIONS: Final = frozenset({"2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2"})
WORDS_CHARACTERS_MAX: Final = 250  # ERR-8
HEADER_CHARACTERS_MAX: Final = 227  # HD, MSH-3 and MSH-4
_UTF8: Final = "UNICODE UTF-8"
_GB18030: Final = "GB18030"
_LATIN: Final = "8859/1"
_UNSAID: Final = frozenset({"", "ASCII"})  # MSH-18 that says nothing of what is not ASCII
_HAN: Final = re.compile(r"[㐀-鿿豈-﫿\U00020000-\U0003ffff]")
_PRODUCTION: Final = "P"


def read_message(data: bytes, character_set: str) -> Message:
    """Return the message, every byte of it read as MSH-18 says, as `character_set` where it says nothing.

    Raises:
        MessageRejected: it is no HL7 message, or its character set is unknown or not the one it was written in.
    """
    if CUT in data:
        words = "only the beginning of this message is here: it was too long, or was broken off"
        raise MessageRejected(Fault("MSH-1", ErrorCode.INTERNAL_ERROR, words))
    if b"\x00" in data:
        words = "the message holds a NUL character, which no text of HL7 has"
        raise MessageRejected(Fault("MSH-18", ErrorCode.DATA_TYPE_ERROR, words))
    for name in (character_set, _UTF8, _GB18030, _LATIN):
        message = try_parse(data, name)
        if message is not None:
            declared = message.get("MSH", 18)
            if CHARACTER_SETS.get(declared or character_set) == CHARACTER_SETS[name]:
                _require_one_reading(data, declared, CHARACTER_SETS[name])
                return message
    try:
        declared = parse_message(data, character_set).get("MSH", 18)
    except MessageUnreadable:
        words = "this is no HL7 message: it does not begin with an MSH segment that names its delimiters"
        raise MessageRejected(Fault("MSH-1", ErrorCode.DATA_TYPE_ERROR, words)) from None
    if declared and declared not in CHARACTER_SETS:
        words = "this character set is not read here: send UNICODE UTF-8 or GB18030"
        raise MessageRejected(Fault("MSH-18", ErrorCode.TABLE_VALUE_NOT_FOUND, words))
    words = "the message is not written in the character set that it names, or that is agreed where it names none"
    if declared == _LATIN:
        words = "of 8859/1 only the characters of ASCII are read here: send UNICODE UTF-8 or GB18030"
    raise MessageRejected(Fault("MSH-18", ErrorCode.DATA_TYPE_ERROR, words))


def _require_one_reading(data: bytes, declared: str, codec: str) -> None:
    """Let pass what is Chinese in its own character set alone: which name of two is the patient's is never guessed.

    UTF-8 that is valid GB18030 by chance is refused where GB18030 is named or agreed; GB18030 that is valid UTF-8 by
    chance, and no Chinese there, where MSH-18 names no character set.

    Raises:
        MessageRejected: the other one reads as Chinese.
    """
    if codec == CHARACTER_SETS[_GB18030]:
        is_doubtful = _is_chinese(data, _UTF8)
    else:
        is_doubtful = declared in _UNSAID and not _is_chinese(data, _UTF8) and _is_chinese(data, _GB18030)
    if is_doubtful:
        words = "the message can be read in two character sets, UTF-8 and GB18030: name the one it is written in"
        raise MessageRejected(Fault("MSH-18", ErrorCode.DATA_TYPE_ERROR, words))


def _is_chinese(data: bytes, character_set: str) -> bool:
    try:
        return _HAN.search(data.decode(CHARACTER_SETS[character_set])) is not None
    except UnicodeDecodeError:
        return False


def require_kind(message: Message, kinds: Collection[tuple[str, str]]) -> None:
    """Let pass what is of one of these types and events, of a version that is read, for real use, with a control id.

    Raises:
        MessageRejected: it is not.
    """
    kind, event = message.get("MSH", 9), message.get("MSH", 9, 2)
    if len(message.named("MSH")) > 1:
        words = "two messages came as one: each needs a frame of its own"
        raise MessageRejected(Fault("MSH-1", ErrorCode.DATA_TYPE_ERROR, words))
    if kind not in {one for one, _ in kinds}:
        words = "this type of message is not taken here: orders come as OMI^O23 or ORM^O01"
        raise MessageRejected(Fault("MSH-9", ErrorCode.UNSUPPORTED_MESSAGE_TYPE, words))
    if (kind, event) not in kinds:
        words = "this event is not taken here: orders come as OMI^O23 or ORM^O01"
        raise MessageRejected(Fault("MSH-9.2", ErrorCode.UNSUPPORTED_EVENT_CODE, words))
    if message.get("MSH", 12) not in VERSIONS:
        words = "this version of HL7 is not read here: versions 2.3 to 2.8.2 are"
        raise MessageRejected(Fault("MSH-12", ErrorCode.UNSUPPORTED_VERSION_ID, words))
    if message.get("MSH", 11) not in {_PRODUCTION, ""}:
        words = "only messages for real use are taken here (P): nothing of training or tests"
        raise MessageRejected(Fault("MSH-11", ErrorCode.UNSUPPORTED_PROCESSING_ID, words))
    if not message.get("MSH", 10):
        words = "the message has no control id, by which a repetition is known"
        raise MessageRejected(Fault("MSH-10", ErrorCode.REQUIRED_FIELD_MISSING, words))


def acknowledge(
    code: str,
    message: Message | None,
    faults: Sequence[Fault] = (),
    *,
    kind: str,
    character_set: str,
    now: datetime,
    orders: Sequence[str] = (),
) -> bytes:
    """Return the acknowledgement. `kind` is its MSH-9; `orders` are ORC segments that say what became of each order.

    It is written in the message's own character set where that is known. Faults of a message that was taken are
    warnings.
    """
    get = message.get if message is not None else _nothing
    declared = get("MSH", 18)
    written_in = declared if declared in CHARACTER_SETS else character_set
    control_id = get("MSH", 10)
    fields = {
        3: APPLICATION,
        5: escape(get("MSH", 3))[:HEADER_CHARACTERS_MAX],
        6: escape(get("MSH", 4))[:HEADER_CHARACTERS_MAX],
        7: now.strftime("%Y%m%d%H%M%S%z"),
        9: kind,
        10: f"A{escape(control_id)}"[:CONTROL_ID_CHARACTERS_MAX],
        11: _PRODUCTION,
        12: get("MSH", 12) if get("MSH", 12) in VERSIONS else "2.5.1",
        18: written_in,
    }
    text = f"{faults[0].where}: {faults[0].words}"[:80] if faults else ""
    segments = [header(fields), segment("MSA", {1: code, 2: escape(control_id), 3: escape(text)})]
    severity = "W" if code == "AA" else "E"
    segments += [
        segment(
            "ERR",
            {
                2: fault.location(),
                3: composite(fault.code, NAMES[fault.code], "HL70357"),
                4: severity,
                7: escape(fault.where),
                8: escape(fault.words[:WORDS_CHARACTERS_MAX]),
            },
        )
        for fault in faults
    ]
    try:
        return encode([*segments, *orders], written_in)
    except UnicodeEncodeError:  # latin-1 cannot say everything; a sender that uses it reads the header at least
        return encode([*segments, *orders], "UNICODE UTF-8")


def _nothing(_segment: str, _field: int, _component: int = 1) -> str:
    return ""
