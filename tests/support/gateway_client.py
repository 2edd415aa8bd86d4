"""A gateway's signed client of the hub, enrolled by a code as a real one is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gateway.hub import HubClient, SigningIdentity
from reading_queue.services.access.enrolment import issue_enrolment_code
from reading_queue.services.hub import Hub
from storage.contract.signing import GatewayKey
from storage.contract.wire import EnrolmentRequest


@contextlib.contextmanager
def enrolled_client(hub: Hub, url: str, site: str) -> Iterator[HubClient]:
    """Enrol a gateway of the site at the hub that answers at `url`, and give its client while the block runs."""
    key = GatewayKey.generate()
    with contextlib.closing(HubClient(url, None, clock=hub.clock, connect_timeout_s=60, read_timeout_s=60)) as stranger:
        code = issue_enrolment_code(hub, site, "admin")
        enrolled = stranger.enrol(EnrolmentRequest(code=code, public_key=key.public_text(), software_version="1"))
    identity = SigningIdentity(key=key, key_id=enrolled.gateway_id, audience=enrolled.audience)
    client = HubClient(url, identity, clock=hub.clock, connect_timeout_s=60, read_timeout_s=60)
    with contextlib.closing(client):
        yield client
