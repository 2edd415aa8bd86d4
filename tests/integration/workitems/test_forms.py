"""A worklist that speaks XML (PS3.18 section 11.1.1, PS3.19 annex A) is served; other forms are refused."""

from __future__ import annotations

from collections.abc import Callable
from email import message_from_bytes
from xml.etree import ElementTree

import pytest

from tests.integration.dicomweb.county import SITE, County
from tests.integration.stow.made import images, study_of
from tests.integration.workitems.client import WORKITEMS, Reply, Worklist, new_transaction

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
XML = "application/dicom+xml"
MANY = f'multipart/related; type="{XML}"'


def model(inside: str) -> bytes:
    return f'<?xml version="1.0"?><NativeDicomModel xmlns="{NAMESPACE}">{inside}</NativeDicomModel>'.encode()


def value(tag: str, vr: str, text: str) -> str:
    return f'<DicomAttribute tag="{tag}" vr="{vr}"><Value number="1">{text}</Value></DicomAttribute>'


def framed(document: bytes) -> bytes:
    return f"--b\r\nContent-Type: {XML}\r\n\r\n".encode() + document + b"\r\n--b--\r\n"


def datasets(reply: Reply) -> list[ElementTree.Element]:
    """Return the datasets of a multipart answer, as any mail reader takes it apart."""
    kind = reply.headers["Content-Type"]
    assert kind.startswith(MANY)
    parts = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + reply.body).get_payload()
    assert {part.get_content_type() for part in parts} == {XML}
    return [ElementTree.fromstring(part.get_payload(decode=True)) for part in parts]


def text(dataset: ElementTree.Element, *tags: str) -> str:
    assert dataset.tag == f"{{{NAMESPACE}}}NativeDicomModel"
    step = f"/{{{NAMESPACE}}}Item/".join(f"{{{NAMESPACE}}}DicomAttribute[@tag='{tag}']" for tag in tags)
    return dataset.findtext(f"{step}/{{{NAMESPACE}}}Value[@number='1']") or ""


def new_workitem(study_uid: str) -> bytes:
    of_study = f'<Item number="1">{value("0020000D", "UI", study_uid)}</Item>'
    return model(
        value("00404005", "DT", "20260302080000")
        + value("00404041", "CS", "READY")
        + value("00741000", "CS", "SCHEDULED")
        + value("00741200", "CS", "HIGH")
        + value("00741204", "LO", "复查")
        + f'<DicomAttribute tag="00404021" vr="SQ">{of_study}</DicomAttribute>'
    )


def test_worklist_that_speaks_xml_creates_finds_claims_and_reports(
    county: County, worklist_of: Callable[[str], Worklist]
) -> None:
    files = images(1)
    county.arrive(SITE, files, "prior")
    coordinator, reader, token = worklist_of("coordinator"), worklist_of("reader"), new_transaction()
    typed = {"Content-Type": f"{MANY}; boundary=b"}
    created = coordinator.send_bytes("POST", WORKITEMS, framed(new_workitem(study_of(files[0]))), **typed)
    assert created.status == 201, created.body
    county.run_jobs()
    (found,) = datasets(reader.send_bytes("GET", WORKITEMS, Accept=MANY))
    uid = text(found, "00080018")
    assert created.headers["Location"].endswith(uid)
    assert text(found, "00404021", "0020000D") == study_of(files[0])
    claim = model(value("00741000", "CS", "IN PROGRESS") + value("00081195", "UI", token))
    claimed = reader.send_bytes("PUT", f"{WORKITEMS}/{uid}/state", claim, **{"Content-Type": XML})
    assert claimed.status == 200, claimed.body
    said = f'<Item number="1">{value("00741004", "DS", "40")}{value("00741006", "ST", "读片中")}</Item>'
    update = model(f'<DicomAttribute tag="00741002" vr="SQ">{said}</DicomAttribute>')
    assert reader.send_bytes("POST", f"{WORKITEMS}/{uid}?{token}", update, **{"Content-Type": XML}).status == 200
    (whole,) = datasets(reader.send_bytes("GET", f"{WORKITEMS}/{uid}", Accept=MANY))
    assert (text(whole, "00741000"), text(whole, "00741002", "00741006")) == ("IN PROGRESS", "读片中")
    assert float(text(whole, "00741002", "00741004")) == 40
    bare = reader.send_bytes("GET", f"{WORKITEMS}/{uid}", Accept=XML)
    assert bare.headers["Content-Type"].startswith(XML)
    assert text(ElementTree.fromstring(bare.body), "00080018") == uid


def test_form_is_what_is_taken_most_and_else_406(study: list[bytes], worklist_of: Callable[[str], Worklist]) -> None:
    reader = worklist_of("reader")
    (uid,) = [found["00080018"]["Value"][0] for found in reader.found()]
    one = f"{WORKITEMS}/{uid}"
    for path, accept, kind in (
        (WORKITEMS, "*/*", "application/dicom+json"),
        (WORKITEMS, f"application/dicom+json;q=0.5, {MANY}", "multipart/related"),
        (WORKITEMS, f"application/dicom+json, {MANY};q=0.5", "application/dicom+json"),
        (one, f"text/html, {XML};q=0.1", XML),
        (WORKITEMS, XML, ""),  # many are never bare
        (one, 'multipart/related; type="application/dicom"', ""),
        (one, "text/html", ""),
    ):
        reply = reader.send_bytes("GET", path, Accept=accept)
        assert reply.status == (200 if kind else 406), (path, accept)
        assert reply.headers["Content-Type"].startswith(kind or "application/problem+json"), (path, accept)
    assert reader.send_bytes("GET", f"{WORKITEMS}?PatientName=Nobody", Accept=MANY).status == 204


def test_bodies_that_are_no_dataset_as_xml_are_refused_with_words(
    study: list[bytes], worklist_of: Callable[[str], Worklist]
) -> None:
    coordinator, whole = worklist_of("coordinator"), new_workitem(study_of(study[0]))
    entity = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + model("")[21:]
    for body, kind, status, words in (
        (entity, XML, 400, "document type"),
        (b"{}", XML, 400, "no XML"),
        (model(value("00741000", "CS", "\ue000")[:-5]), XML, 400, "no XML"),
        (whole, f"{MANY}; boundary=b", 400, "cut off"),
        (framed(whole)[:-7] + framed(whole), f"{MANY}; boundary=b", 400, "parts"),
        (framed(whole), 'multipart/related; type="application/dicom"; boundary=b', 415, "application/dicom+json"),
        (whole, "text/xml", 415, "application/dicom+xml"),
        (b"{}", "", 415, "A body is"),
    ):
        refused = coordinator.send_bytes("POST", WORKITEMS, body, **{"Content-Type": kind})
        assert refused.status == status, (kind, refused.body)
        assert words in refused.body.decode(), refused.body
