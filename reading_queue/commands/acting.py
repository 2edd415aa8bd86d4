"""Who does what a command does: `--as LOGIN`, with the password asked for, or read as a line from a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reading_queue.services.hub import Hub
    from reading_queue.services.visibility import Viewer

AsOption = Annotated[str, typer.Option("--as", help="The login of who does this: a coordinator or administrator.")]


def acting_person(context: typer.Context, login: str) -> tuple[Hub, Viewer]:
    """Return the hub, and the person whose password was given."""
    from reading_queue.bootstrap import build_hub
    from reading_queue.errors import NotAuthenticated
    from reading_queue.services import accounts

    hub = build_hub(context.obj.settings)
    if sys.stdin.isatty():
        password = typer.prompt(f"Password of {login}", hide_input=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    token = accounts.login(hub, login, password, "api").token
    viewer = accounts.find_viewer(hub, token)
    accounts.logout(hub, token)
    if viewer is None:
        raise NotAuthenticated
    return hub, viewer
