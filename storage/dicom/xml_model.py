"""A dataset as XML, the Native DICOM Model of PS3.19 annex A, to and from the DICOM JSON model. Pure.

What is read is believed nothing of: a document type, and with it every entity, is refused where it begins, and so are
foreign elements, gaps between values and numbers that are none. What XML 1.0 has no character for is written as a
replacement character. Bulk data by address is not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn
from xml.etree.ElementTree import Element, ParseError, SubElement, TreeBuilder, XMLParser, tostring

DicomJson = dict[str, Any]

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
ITEMS_WITHIN_MAX: Final = 32  # sequences inside one another
_SPACE: Final = "{http://www.w3.org/XML/1998/namespace}space"
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_VR: Final = re.compile(r"[A-Z]{2}")
_NO_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_WHOLE: Final = frozenset({"IS", "SL", "SS", "SV", "UL", "US", "UV"})
_DECIMAL: Final = frozenset({"DS", "FD", "FL"})
_HOLDERS: Final[Mapping[str, str]] = {"SQ": "Item", "PN": "PersonName"}  # of one value each; of others, Value


class NotNativeDicom(ValueError):
    """The XML is no dataset of the Native DICOM Model; the message says why, and quotes nothing of it."""


def dataset_xml(dataset: DicomJson) -> bytes:
    """Return a dataset of the DICOM JSON model as a document of its own, in UTF-8."""
    root = Element("NativeDicomModel", {"xmlns": NAMESPACE, _SPACE: "preserve"})
    _write(root, dataset)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def parse_dataset_xml(document: bytes) -> DicomJson:
    """Return the dataset of a document in the DICOM JSON model.

    Raises:
        NotNativeDicom: it is none, or has a document type.
    """
    parser = XMLParser(target=_Builder())  # noqa: S314 -- the builder lets no document type in, so no entity either
    try:
        parser.feed(document)
        root = parser.close()
    except (ParseError, LookupError) as exc:  # LookupError: an encoding that nobody knows
        raise NotNativeDicom("the body is no XML") from exc
    if _name(root) != "NativeDicomModel":
        raise NotNativeDicom(f"the document is a NativeDicomModel of {NAMESPACE}")
    return _read(root, 0)


class _Builder(TreeBuilder):
    def doctype(self, _name: str, _public: str | None, _system: str | None) -> NoReturn:
        """Refuse: a dataset has no document type."""
        raise NotNativeDicom("the XML has a document type, which no dataset needs")


def _write(parent: Element, dataset: DicomJson) -> None:
    from pydicom.datadict import keyword_for_tag  # loaded when somebody asks for XML

    for tag, element in sorted(dataset.items()):
        vr = element.get("vr", "UN")
        found = SubElement(parent, "DicomAttribute", {"tag": tag.upper(), "vr": vr})
        if keyword := keyword_for_tag(int(tag, 16)):
            found.set("keyword", keyword)
        for number, value in enumerate(element.get("Value", ()), 1):
            is_group = isinstance(value, dict)
            held = SubElement(found, _HOLDERS.get(vr, "Item") if is_group else "Value", {"number": str(number)})
            if is_group and vr == "PN":
                _write_name(held, value)
            elif is_group:
                _write(held, value)
            elif value is not None:
                held.text = _text(value)
        if "InlineBinary" in element:
            SubElement(found, "InlineBinary").text = element["InlineBinary"]
        if "BulkDataURI" in element:
            SubElement(found, "BulkData", {"uri": element["BulkDataURI"]})


def _write_name(parent: Element, groups: Mapping[str, str]) -> None:
    for group in _GROUPS:
        if text := groups.get(group):
            written = SubElement(parent, group)
            for component, part in zip(_COMPONENTS, text.split("^"), strict=False):
                if part:
                    SubElement(written, component).text = _text(part)


def _text(value: Any) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", str(value))


def _read(parent: Element, depth: int) -> DicomJson:
    if depth > ITEMS_WITHIN_MAX:
        raise NotNativeDicom(f"sequences stand at most {ITEMS_WITHIN_MAX} deep inside one another")
    found: DicomJson = {}
    for attribute in parent:
        tag, vr = attribute.get("tag", ""), attribute.get("vr", "")
        if _name(attribute) != "DicomAttribute" or not _TAG.fullmatch(tag) or not _VR.fullmatch(vr):
            raise NotNativeDicom("a dataset consists of DicomAttribute elements with tag and vr")
        if tag.upper() in found:
            raise NotNativeDicom(f"the attribute {tag.upper()} is given twice")
        found[tag.upper()] = _read_attribute(attribute, vr, depth)
    return found


def _read_attribute(attribute: Element, vr: str, depth: int) -> dict[str, Any]:
    holders = list(attribute)
    if not holders:
        return {"vr": vr}
    if [_name(one) for one in holders] == ["InlineBinary"]:
        return {"vr": vr, "InlineBinary": (holders[0].text or "").strip()}
    ordered = _numbered(holders, _HOLDERS.get(vr, "Value"))
    if vr == "SQ":
        return {"vr": vr, "Value": [_read(item, depth + 1) for item in ordered]}
    if vr == "PN":
        return {"vr": vr, "Value": [_read_name(name) for name in ordered]}
    return {"vr": vr, "Value": [_value(one, vr) for one in ordered]}


def _numbered(holders: Sequence[Element], name: str) -> Iterable[Element]:
    by_number = {one.get("number", ""): one for one in holders}
    wanted = [str(number) for number in range(1, len(holders) + 1)]
    if any(_name(one) != name for one in holders) or by_number.keys() != set(wanted):
        raise NotNativeDicom(f"the values of an attribute are {name} elements, numbered from 1 without a gap")
    return [by_number[number] for number in wanted]


def _read_name(name: Element) -> dict[str, str]:
    groups: dict[str, str] = {}
    for group in name:
        parts = {_name(part): part.text or "" for part in group}
        if _name(group) not in _GROUPS or not parts.keys() <= set(_COMPONENTS):
            raise NotNativeDicom("a PersonName has groups of components, and nothing else")
        groups[_name(group)] = "^".join(parts.get(one, "") for one in _COMPONENTS).rstrip("^")
    return groups


def _value(holder: Element, vr: str) -> str | int | float | None:
    if len(holder):
        raise NotNativeDicom("a Value is text, and nothing else")
    text = holder.text
    if not text or vr not in _WHOLE | _DECIMAL:
        return text or None
    try:
        number = int(text) if vr in _WHOLE else float(text)
    except ValueError as exc:
        raise NotNativeDicom(f"a value of VR {vr} is a number") from exc
    if not math.isfinite(number):
        raise NotNativeDicom(f"a value of VR {vr} is a finite number")
    return number


def _name(element: Element) -> str:
    """Return the local name of an element of the model, empty for a foreign one."""
    return element.tag.removeprefix(f"{{{NAMESPACE}}}") if element.tag.startswith(f"{{{NAMESPACE}}}") else ""
