"""Who may store instances over DICOMweb: STOW-RS's question, answered by the hub's deposits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.hub import Hub
from reading_queue.web.keys import HUB, get_viewer
from storage.dicomweb.store_answer import Outcome, ReceivedFile
from storage.dicomweb.stow import Deposit


class DepositAccess:
    """The caller's right to store, and how it is done for them."""

    def admit(self, request: web.Request) -> Deposit:
        """Return what stores for the caller. Raises NotAuthenticated for nobody, Forbidden for who stores nothing."""
        viewer = get_viewer(request)
        require(viewer, Role.TECHNICIAN, Role.PHYSICIAN)
        return partial(_deposit, request.config_dict[HUB], viewer)


def _deposit(hub: Hub, viewer: Viewer, files: Sequence[ReceivedFile], study_uid: str | None) -> Outcome:
    from reading_queue.services.arrival.deposits import deposit  # reads images: loaded when somebody stores one

    return deposit(hub, viewer, files, study_uid)
