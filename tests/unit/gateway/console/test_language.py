"""Both languages have the same words, and what the gateway writes down in English has its Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.console import language
from gateway.console.attention import Matter
from gateway.console.road import Progress, Stage
from gateway.his_orders.listener import CORRECT_THE_HIS
from gateway.peers import EVERYTHING, Call, Load, Peer, PeerTable, Permission, Rejection, Rules, admit, remedy_for
from gateway.scp import admission, server
from gateway.scp.c_store_status import C_STORE_FAILURES, DISK_FULL, UNEXPECTED
from gateway.scp.services import DicomService
from gateway.scp.transport import NO_TLS
from storage.contract import national_id, orders
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.screens import order_form
from storage.screens.templating import SHARED
from storage.screens.words import DEFAULT_LANGUAGE, use_language
from storage.tls import HANDSHAKE_WORDS

TEMPLATES = Path(language.__file__).parent / "templates"
KEYS = re.compile(r"""\bt\(\s*["']([a-z_.]+)["']\s*[,)]""")
PLACES = re.compile(r"\{(\w+)\}")


def words_written_down() -> set[str]:
    failures = [*(failure for _, failure in C_STORE_FAILURES), DISK_FULL, UNEXPECTED]
    pairs = [(failure.comment, failure.remedy) for failure in failures] + [server.NOT_DICOM, server.CUT_OFF]
    pairs += [words for peer in (Peer("ws", "WS", frozenset()), READER) for words in refused_services(peer)]
    pairs += [(f"CT Image {happened}", remedy) for happened, remedy in admission._CONTEXT_REJECTIONS.values()]
    return {text for pair in pairs for text in pair} | set(rejections())


READER = Peer("ws", "WS", frozenset(), withheld=EVERYTHING)


def refused_services(peer: Peer) -> Iterator[tuple[str, str]]:
    """Yield what a device is told that may do nothing, at a gateway of a clinic or one in reader mode."""
    yield f"{peer.ae_title} wanted to store images, which it may not", remedy_for(peer, Permission.STORE)
    for permission in EVERYTHING - {Permission.STORE}:
        words = DicomService("Query", permission, frozenset()).explain_refusal(peer)
        assert words is not None
        yield words


def rejections() -> Iterator[str]:
    """Yield what a device is told that may not come in, each refusal once."""
    scanner = Peer(name="ct", ae_title="CT1", addresses=(ip_network("10.0.0.1"),), tls_required=True)
    peers = PeerTable([scanner])
    call = Call(calling_ae_title="CT1", called_ae_title="GATEWAY", address="10.0.0.1", over_tls=True)
    rules, idle = Rules(1, 0, "GATEWAY"), Load(0, 0)
    visitor = replace(scanner, may=frozenset())
    refused = [
        admit(replace(call, calling_ae_title="X"), peers, rules, idle),
        admit(replace(call, calling_ae_title="ct1"), peers, rules, idle),
        admit(replace(call, address="10.0.0.2"), peers, rules, idle),
        admit(replace(call, called_ae_title="X"), peers, rules, idle),
        admit(replace(call, over_tls=False), peers, rules, idle),
        admit(call, peers, rules, Load(1, 0)),
        admit(call, PeerTable([visitor]), rules, idle),
    ]
    for answer in refused:
        assert isinstance(answer, Rejection)
        yield from (answer.reason, answer.remedy)


@pytest.fixture
def chinese():
    use_language("zh")
    yield
    use_language(DEFAULT_LANGUAGE)


def test_both_languages_have_the_same_words_with_the_same_places():
    chinese = {key: text for key, text in language.catalogue("zh").items() if not key.startswith(language.WORDING)}
    english = {key: text for key, text in language.catalogue("en").items() if not key.startswith(language.WORDING)}
    assert chinese.keys() == english.keys()
    for key, text in chinese.items():
        assert set(PLACES.findall(text)) == set(PLACES.findall(english[key])), key


def test_every_word_of_a_template_is_there():
    pages = [*TEMPLATES.glob("*.html"), *SHARED.glob("*.html")]
    used = {key for path in pages for key in KEYS.findall(path.read_text(encoding="utf-8"))}
    assert used - language.catalogue("zh").keys() == set()


@pytest.mark.parametrize("before", ["A connection for orders was refused: ", "A connection to the TLS port failed: "])
def test_every_trouble_of_a_tls_handshake_is_told_in_chinese(chinese: None, before: str):
    for words in HANDSHAKE_WORDS:
        told = language.in_words(before + words)
        assert not re.search("[a-z]{3}", told), told
    for remedy in (NO_TLS, CORRECT_THE_HIS):
        assert re.search(r"[\u4e00-\u9fff]{4}", language.in_words(remedy))


def test_every_code_that_a_screen_shows_has_a_word():
    wanted = {f"stage.{stage}" for stage in Stage} | {f"lane.{lane}" for lane in Lane} | {f"hop.{hop}" for hop in Hop}
    wanted |= {f"progress.{progress}" for progress in Progress}
    source = (Path(language.__file__).parent / "attention.py").read_text(encoding="utf-8")
    kinds = set(re.findall(r'Matter\(\s*"([a-z_]+)"', source))
    assert Matter("x", None).kind == "x"
    wanted |= {f"matter.{kind}" for kind in kinds} | {f"remedy.{kind}" for kind in kinds}
    assert wanted - language.catalogue("zh").keys() == set()


def test_every_fault_of_an_order_and_every_choice_of_its_form_has_a_word():
    sources = [Path(orders.__file__), Path(national_id.__file__)]
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    codes = set(re.findall(r'(?:CustomError|NationalIdProblem)\(\s*"(\w+)"', text))
    codes |= set(re.findall(r'"(\w+)",\s*"[a-z][^"]* [^"]*"\)?,', text))
    codes |= set(re.findall(r'OrderFault\("\w*", "(\w+)"', text))
    assert {"name_missing", "green_channel_lane", "sex_differs", "national_id_checksum", "reason_missing"} <= codes
    wanted = {f"fault.{code}" for code in codes} | {f"gap.{gap}" for gap in order_form._ASKED}
    wanted |= {f"order_state.{state}" for state in orders.OrderState}
    wanted |= {f"origin.{origin}" for origin in orders.OrderOrigin}
    wanted |= {f"{name}.{one}" for name in order_form.CHOICES for one in order_form.OPTIONS[name]}
    wanted |= {f"order.{name}" for name in order_form.NEW_NAMES}
    wanted |= {"fault.accession_taken", "fault.accession_reserved"}
    assert wanted - language.catalogue("zh").keys() == set()


@pytest.mark.usefixtures("chinese")
def test_every_refusal_is_told_in_chinese():
    untold = {text for text in words_written_down() if language.in_words(text) == text}
    assert untold == set()


@pytest.mark.usefixtures("chinese")
def test_words_with_something_that_differs_keep_it():
    assert language.in_words("hub.example cannot be reached: SomeError") == "连不上 hub.example（SomeError）"
    assert language.in_words("hub.example cannot be reached: TimeoutError") == "连不上 hub.example（超时）"
    assert language.in_words("arrived in transfer syntax RLE Lossless, which is left alone").startswith(
        "到达时已是 RLE"
    )
    assert language.in_words("nobody has translated this") == "nobody has translated this"
