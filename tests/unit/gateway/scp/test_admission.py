"""What the listener takes, in which transfer syntax."""

from __future__ import annotations

import pytest
from pydicom.uid import UID
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext

from gateway.peers import EVERYTHING, Peer, Permission
from gateway.scp.admission import TRANSFER_SYNTAXES, is_storage_class, name_storage_service, tailor_contexts
from gateway.scp.services import DicomService, ServiceTable

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG_LOSSY, JPEG_LOSSLESS, HTJ2K = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.201"


SCANNER = Peer("ct1", "CT1")
FIND = DicomService("Query", Permission.QUERY, frozenset({"1.2.840.10008.5.1.4.1.2.2.1"}))
SERVICES = ServiceTable([FIND])


def proposal(uid: str, *syntaxes: str) -> PresentationContext:
    context = PresentationContext()
    context.abstract_syntax = UID(uid)
    context.transfer_syntax = [UID(syntax) for syntax in syntaxes]
    return context


@pytest.mark.parametrize(
    ("offered", "preferred"),
    [
        ([IMPLICIT, EXPLICIT], [IMPLICIT, EXPLICIT]),
        ([EXPLICIT, IMPLICIT], [EXPLICIT, IMPLICIT]),
        ([BIG, IMPLICIT], [IMPLICIT, BIG]),
        ([JPEG_LOSSY, JPEG_LOSSLESS, EXPLICIT], [JPEG_LOSSLESS, EXPLICIT, JPEG_LOSSY]),
        ([JPEG_LOSSY], [JPEG_LOSSY]),
        ([HTJ2K, "1.2.3.4"], [HTJ2K]),
        (["1.2.3.4"], []),
    ],
)
def test_the_proposers_order_counts_and_loss_comes_last(offered: list[str], preferred: list[str]) -> None:
    (context,) = tailor_contexts([proposal(CT, *offered)], SCANNER, SERVICES)
    assert context.transfer_syntax == preferred


def test_every_standard_storage_class_is_taken() -> None:
    assert all(
        is_storage_class(context.abstract_syntax) for context in AllStoragePresentationContexts if not_media(context)
    )


def not_media(context: PresentationContext) -> bool:
    """Hanging protocols and the like belong to no patient and no study."""
    return str(context.abstract_syntax).startswith("1.2.840.10008.5.1.4.1.1.")


@pytest.mark.parametrize(
    ("uid", "taken"),
    [
        ("1.2.840.10008.5.1.4.1.1.3", True),  # Ultrasound Multi-frame, retired
        ("1.2.840.10008.5.1.1.27", True),  # Stored Print, retired
        ("1.3.12.2.1107.5.9.1", True),  # private
        ("1.2.840.10008.5.1.4.1.1.999", True),  # newer than this software
        ("1.2.840.10008.1.1", False),  # Verification is no storage
        ("1.2.840.10008.5.1.4.1.2.2.1", False),  # query
        ("1.2.840.10008.5.1.1.9", False),  # printing
        ("1.2.840.10008.1.20.1", False),  # storage commitment
    ],
)
def test_storage_classes_of_every_kind_and_nothing_else(uid: str, taken: bool) -> None:
    assert is_storage_class(UID(uid)) is taken


def supported(peer: Peer, *uids: str, receives_back: tuple[str, ...] = ()) -> list[str]:
    contexts = tailor_contexts([proposal(uid, IMPLICIT) for uid in uids], peer, SERVICES, receives_back)
    return [str(context.abstract_syntax) for context in contexts]


def test_a_device_gets_what_it_may_use_and_verification_always() -> None:
    asked = ("1.2.840.10008.1.1", CT, "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.31")
    assert supported(SCANNER, *asked) == ["1.2.840.10008.1.1", CT]
    reader = Peer("ws", "WS", frozenset({Permission.QUERY}))
    assert supported(reader, *asked) == ["1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.2.2.1"]
    assert supported(Peer("all", "ALL", EVERYTHING), *asked) == list(asked[:3])


def test_a_reader_takes_images_by_c_get_only_where_it_proposed_to_receive_them() -> None:
    reader = Peer("ws", "WS", frozenset({Permission.RETRIEVE}))
    assert supported(reader, CT) == []
    (context,) = tailor_contexts([proposal(CT, IMPLICIT)], reader, SERVICES, {CT})
    assert (context.scu_role, context.scp_role) == (False, True)


def test_unknown_storage_classes_are_named_to_the_storage_service() -> None:
    named = name_storage_service([proposal(CT, IMPLICIT), proposal("1.3.12.2.1107.5.9.1", IMPLICIT)])
    assert list(named) == ["1.3.12.2.1107.5.9.1"]


def test_syntaxes_whose_pixels_travel_elsewhere_are_not_taken() -> None:
    assert "1.2.840.10008.1.2.4.204" not in TRANSFER_SYNTAXES  # JPIP HTJ2K Referenced
    assert HTJ2K in TRANSFER_SYNTAXES
