"""Who does what a command does.

What only a coordinator or administrator may do takes `--as LOGIN`, with the password asked for or read as a line from a
pipe. What everybody may do who can run commands on the hub's machine is done under the name they give or have there.
"""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from reading_queue.services.access.visibility import Viewer
    from reading_queue.services.hub import Hub
    from reading_queue.services.network.network_versions import Author

AsOption = Annotated[str, typer.Option("--as", help="The login of who does this: a coordinator or administrator.")]

CommandAsOption = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="NAME",
        help="Who does this, as the history and the audit trail name them; without it, your user on this machine.",
        show_default=False,
    ),
]
NAME_MAX: Final = 120


def command_author(name: str | None) -> Author:
    """Return who runs this command: the name that was given, or the user of the system. Raises Invalid."""
    from reading_queue.errors import Invalid
    from reading_queue.services.network.network_versions import Author

    said = (_system_user() if name is None else name).strip()
    if not said or len(said) > NAME_MAX or not said.isprintable():
        raise Invalid(f"--as: a name is needed, of at most {NAME_MAX} printable characters")
    return Author(command_as=said)


def _system_user() -> str:
    """Return who has logged in to this machine, also where they work as root by sudo."""
    with suppress(OSError):  # nobody has: a container, or a timer of the system
        return os.getlogin()
    with suppress(KeyError):  # a container may run as a user that has no name
        return pwd.getpwuid(os.getuid()).pw_name
    return f"uid {os.getuid()}"


def acting_person(context: typer.Context, login: str) -> tuple[Hub, Viewer]:
    """Return the hub, and the person whose password was given."""
    from reading_queue.bootstrap import build_hub
    from reading_queue.errors import NotAuthenticated
    from reading_queue.services.access import accounts

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
