"""Who is let in: the whole decision as a table, written independently of the code."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.peers import Call, Load, Peer, PeerTable, Permission, Rejection, Rules, admit

CT = Peer("ct1", "CT1")
FIXED = Peer("dr1", "DR1", addresses=(ip_network("192.168.1.20"), ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
READER = Peer("ws", "WS", frozenset({Permission.QUERY}))
SECURE = Peer("sec", "SEC", tls_required=True)
PEERS = PeerTable([CT, FIXED, READER, SECURE])
RULES = Rules(associations_max=4, visitors_max=2)
STRICT = Rules(4, 2, required_called_ae_title="BOX")
IDLE = Load(0, 0)


@pytest.mark.parametrize(
    ("call", "rules", "load", "expected"),
    [
        (Call("CT1", "ANY", "1.2.3.4"), RULES, IDLE, CT),
        (Call("DR1", "ANY", "192.168.1.20"), RULES, IDLE, FIXED),
        (Call("DR1", "ANY", "10.9.8.7"), RULES, IDLE, FIXED),
        (Call("DR1", "ANY", "::ffff:10.9.8.7"), RULES, IDLE, FIXED),
        (Call("DR1", "ANY", "fd00::7%eth0"), RULES, IDLE, FIXED),
        (Call("DR1", "ANY", "192.168.1.21"), RULES, IDLE, (1, 1, 3, "192.168.1.21")),
        (Call("DR1", "ANY", ""), RULES, IDLE, (1, 1, 3, "addresses of peer dr1")),
        (Call("NOBODY", "ANY", "1.2.3.4"), RULES, IDLE, (1, 1, 3, "allowed_calling_ae_titles")),
        (Call("ct1", "ANY", "1.2.3.4"), RULES, IDLE, (1, 1, 3, "this gateway knows CT1")),
        (Call("CT1", "BOX", "1.2.3.4"), STRICT, IDLE, CT),
        (Call("CT1", "box", "1.2.3.4"), STRICT, IDLE, (1, 1, 7, "Set BOX")),
        (Call("SEC", "ANY", "1.2.3.4"), RULES, IDLE, (1, 1, 1, "TLS")),
        (Call("SEC", "ANY", "1.2.3.4", over_tls=True), RULES, IDLE, SECURE),
        (Call("CT1", "ANY", "1.2.3.4"), RULES, Load(3, 0), CT),
        (Call("CT1", "ANY", "1.2.3.4"), RULES, Load(4, 0), (2, 3, 2, "associations_max")),
        (Call("WS", "ANY", "1.2.3.4"), RULES, Load(2, 1), READER),
        (Call("WS", "ANY", "1.2.3.4"), RULES, Load(2, 2), (2, 3, 2, "associations_max")),
        (Call("CT1", "ANY", "1.2.3.4"), RULES, Load(2, 2), CT),
    ],
)
def test_admission(call: Call, rules: Rules, load: Load, expected: Peer | tuple[int, int, int, str]) -> None:
    decision = admit(call, PEERS, rules, load)
    if isinstance(expected, Peer):
        assert decision == expected
        return
    assert isinstance(decision, Rejection)
    assert (decision.result, decision.source, decision.diagnostic) == expected[:3]
    assert decision.reason
    assert expected[3] in decision.remedy


def test_an_open_table_lets_everybody_do_everything() -> None:
    peer = admit(Call("X", "ANY", "1.2.3.4"), PeerTable([], anybody=True), RULES, IDLE)
    assert isinstance(peer, Peer)
    assert peer.may == frozenset(Permission)
