"""What every handler is given, and what a request has learnt on its way in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

import jinja2
from aiohttp import web

from gateway.console.accounts import AccountRules, Viewer
from gateway.console.errors import NotAuthenticated
from gateway.journal.database import Journal
from gateway.returns.store import DocumentStore
from gateway.settings import ConsoleSettings, GatewaySettings
from gateway.spool.spool import Spool
from storage.screens.offload import Offload

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Desk:
    """What the console stands on: the parts of the running gateway."""

    settings: GatewaySettings
    journal: Journal
    spool: Spool
    documents: DocumentStore
    clock: Callable[[], datetime]

    @property
    def console(self) -> ConsoleSettings:
        """Return the console's own settings."""
        return self.settings.console

    @property
    def serves_site(self) -> bool:
        """Return whether images and orders come in here, which they do not in reader mode."""
        return self.settings.mode == "site"

    @property
    def rules(self) -> AccountRules:
        """Return the rules of accounts and sessions."""
        console = self.settings.console
        return AccountRules(
            session=timedelta(hours=console.session_hours),
            idle=timedelta(hours=console.idle_hours),
            failed_logins_max=console.failed_logins_max,
            login_lock=timedelta(seconds=console.login_lock_s),
            offline=timedelta(days=console.accounts_offline_days),
        )


DESK = web.AppKey("DESK", Desk)
TEMPLATES = web.AppKey("TEMPLATES", jinja2.Environment)
RUN = web.AppKey("RUN", Offload)

VIEWER = web.RequestKey("VIEWER", Viewer)
TOKEN = web.RequestKey("TOKEN", str)


def find_viewer(request: web.Request) -> Viewer | None:
    """Return who asks, None for nobody; the session middleware has looked."""
    return request.get(VIEWER)


def get_viewer(request: web.Request) -> Viewer:
    """Return who asks. Raises NotAuthenticated for nobody."""
    viewer = find_viewer(request)
    if viewer is None:
        raise NotAuthenticated
    return viewer


async def in_thread(request: web.Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return `function(*args, **kwargs)`, called off the event loop: journal and disk are synchronous."""
    return await request.config_dict[RUN](function, *args, **kwargs)
