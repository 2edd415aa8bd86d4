"""The gateway as the caller: TLS, and what the technician reads when a device cannot be reached."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

from gateway.peers import CallBack
from gateway.scu import Destination, PeerUnavailable, echo
from storage.tls import Credentials, server_context
from tests.support.certificates import Authority
from tests.support.ports import own_port

pytestmark = pytest.mark.services


def credentials(authority: Authority, name: str) -> Credentials:
    issued = authority.issue(name)
    return Credentials(issued.certificate_file, issued.key_file, authority.ca_file)


@pytest.fixture
def device() -> Iterator[Callable[..., int]]:
    servers: list[Any] = []

    def listen(tls: ssl.SSLContext | None = None, **options: Any) -> int:
        ae = AE(ae_title="DEVICE")
        ae.require_calling_aet = options.get("allowed", [])
        ae.add_supported_context(options.get("service", "1.2.840.10008.1.1"))
        servers.append(ae.start_server(("127.0.0.1", 0), block=False, ssl_context=tls))
        return int(servers[-1].server_address[1])

    yield listen
    for server in servers:
        server.shutdown()


def destination(
    port: int, ours: Credentials | None = None, *, tls: bool = True, name: str | None = None
) -> Destination:
    return Destination.of("DEVICE", CallBack("127.0.0.1", port, 3, over_tls=tls, tls_server_name=name), ours)


def test_device_is_called_over_tls_with_our_certificate(tmp_path: Path, device: Callable[..., int]) -> None:
    authority = Authority(tmp_path)
    port = device(server_context(credentials(authority, "device"), require_client_certificate=True))
    ours = credentials(authority, "gateway")
    echo(destination(port, ours), "GATEWAY")
    echo(destination(port, ours, name="device"), "GATEWAY")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_every_trouble_with_a_device_is_told_in_words(tmp_path: Path, device: Callable[..., int]) -> None:
    authority, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs", "Other")
    ours = credentials(authority, "gateway")
    plain = device()
    theirs = device(server_context(credentials(stranger, "device"), require_client_certificate=False))
    named = device(server_context(credentials(authority, "device"), require_client_certificate=False))
    lost = Credentials(tmp_path / "gone.pem", tmp_path / "gone.key")
    troubles = [
        (destination(own_port(), tls=False), "cannot be reached"),
        (destination(device(allowed=["OTHER"]), tls=False), "does not know our AE title"),
        (destination(device(service="1.2.840.10008.1.20.1"), tls=False), "accepts none"),
        (destination(theirs, ours), "not signed by the configured CA"),
        (destination(named, ours, name="elsewhere"), "bears another name"),
        (destination(plain, lost), "gone.pem cannot be read"),
        (destination(plain, None), "names no certificate"),
    ]
    for where, words in troubles:
        with pytest.raises(PeerUnavailable, match=words):
            echo(where, "GATEWAY")
