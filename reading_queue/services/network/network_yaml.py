"""A network as one YAML file: read with the line of everything in it, and written. Pure: bytes in and out.

Days stay texts while they are read, so that a day that does not exist is told with its line like any other fault.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import yaml
from yaml.reader import ReaderError

from reading_queue.domain.network_faults import Fault, Path, Place
from reading_queue.domain.network_words import syntax
from reading_queue.services.network.network_document import NetworkInvalid

_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
DEPTH_MAX: Final = 8  # no field of the format lies deeper
NESTING_MAX: Final = 64  # what lies deeper than DEPTH_MAX is told to be no field; below this, a stack would end
NODES_MAX: Final = 500_000  # once references are followed
EVENTS_MAX: Final = 3 * NODES_MAX  # as written: the beginnings and ends of parts, keys and values
LINE_WIDTH: Final = 120


if TYPE_CHECKING:
    _SafeLoader = yaml.SafeLoader
else:
    _SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, several times as fast


class _Loader(_SafeLoader):
    """YAML without days and moments of its own."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Reading:
    """The places of a document's fields, and the keys that stand twice."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[Path, Place] = {}
        self.faults: list[Fault] = []

    def place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1)

    def walk(self, node: yaml.Node, path: Path) -> None:
        """Note the place of everything below the node."""
        if len(self.places) > NODES_MAX:
            raise NetworkInvalid([Fault("too_big")], {(): self.place(node)})
        if len(path) > DEPTH_MAX:
            return
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                self.places[*path, number] = self.place(item)
                self.walk(item, (*path, number))
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
                self.places[*path, name] = self.place(key)
                if name in seen:
                    self.faults.append(Fault("key_twice", (*path, name), {"key": name}))
                seen.add(name)
                self.walk(value, (*path, name))


def decode(data: bytes) -> str:
    """Return the text: UTF-8 with or without a byte order mark, UTF-16 with one, or GB18030. Raises UnicodeError."""
    if data.startswith(_UTF_16):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030")


def read_yaml(file: str, data: bytes) -> tuple[dict[str, Any], dict[Path, Place]]:
    """Return the document and where everything in it stands. Raises NetworkInvalid."""
    first: dict[Path, Place] = {(): Place(file, 1)}
    text = ""
    try:
        text = decode(data)
        _require_bounded(file, text)
        loader = _Loader(text)
        node = loader.get_single_node()
        reading = _Reading(file)
        if node is not None:
            reading.walk(node, ())
        document = loader.construct_document(node) if node is not None else None
    except UnicodeDecodeError as exc:
        raise NetworkInvalid([Fault("not_unicode")], first) from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        line, words = _mistake(exc, text)
        raise NetworkInvalid([Fault("not_yaml", (), words)], {(): Place(file, line)}) from exc
    if not isinstance(document, dict):
        raise NetworkInvalid([Fault("no_network")], first)
    if reading.faults:
        raise NetworkInvalid(reading.faults, reading.places)
    return document, {**first, **reading.places}


def _require_bounded(file: str, text: str) -> None:
    """Raise NetworkInvalid before a text with too many parts, or too deeply nested, takes all memory or the stack."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if number > EVENTS_MAX or depth > NESTING_MAX:
            fault = Fault("nested_too_deep", (), {"limit": NESTING_MAX}) if depth > NESTING_MAX else Fault("too_big")
            raise NetworkInvalid([fault], {(): Place(file, event.start_mark.line + 1 if event.start_mark else 1)})


def _mistake(exc: Exception, text: str) -> tuple[int, dict[str, str]]:
    """Return the line of what cannot be read as YAML, and what is wrong in words of each language."""
    if isinstance(exc, ReaderError):
        return text.encode().count(b"\n", 0, exc.position) + 1, syntax(exc.reason)
    if not isinstance(exc, yaml.MarkedYAMLError):
        return 1, syntax(str(exc).split("\n", maxsplit=1)[0])
    last = max(1, len(text.splitlines()))
    marks = [mark for mark in (exc.problem_mark, exc.context_mark) if mark is not None]
    ends, begins = (min(mark.line + 1, last) for mark in (marks[0], marks[-1])) if marks else (1, 1)
    at = begins if exc.context == "while scanning a simple key" else ends  # only the next line tells that it is none
    return at, syntax(exc.problem or exc.context or "", begins)


def write_yaml(document: Mapping[str, Any]) -> bytes:
    """Return the document as YAML, in UTF-8."""
    text: str = yaml.safe_dump(
        dict(document), allow_unicode=True, sort_keys=False, width=LINE_WIDTH, default_flow_style=None
    )
    return text.encode("utf-8")
