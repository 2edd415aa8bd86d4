"""`counterpart-hub storage retention`: what may be deleted, what must not be, and the two persons who decide.

Each command is done by somebody: `--as LOGIN`, with the password asked for, or read as a line from a pipe.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reading_queue.services.hub import Hub
    from reading_queue.services.visibility import Viewer

retention_app = typer.Typer(help="How long studies are kept, and who lets them go.", no_args_is_help=True)

AsOption = Annotated[str, typer.Option("--as", help="The login of who does this: a coordinator or administrator.")]
SiteArgument = Annotated[str, typer.Argument(help="The site, as in the network.")]
StudyArgument = Annotated[str, typer.Argument(help="The Study Instance UID.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, in words that name no patient.")]


@retention_app.command("list")
def list_studies(context: typer.Context, login: AsOption) -> None:
    """Show the open requests, and the studies whose time is over."""
    from reading_queue.services import retention

    hub, viewer = _who(context, login)
    for one in retention.list_requests(hub, viewer):
        typer.echo(f"{one.state:<9}  {one.request_id}  {one.site_id}  {one.study_uid}  {one.reason}")
    for study in retention.list_due(hub, viewer):
        typer.echo(f"since {study.keep_until}  {study.site_id}  {study.study_uid}")


@retention_app.command()
def hold(
    context: typer.Context, site: SiteArgument, study: StudyArgument, reason: ReasonOption, login: AsOption
) -> None:
    """Keep a study from being deleted, whatever its age, until the hold is released; prints the hold's id."""
    from reading_queue.services import retention

    hub, viewer = _who(context, login)
    typer.echo(retention.place_hold(hub, viewer, site, study, reason))


@retention_app.command()
def release(
    context: typer.Context, hold_id: Annotated[str, typer.Argument(help="As `hold` printed it.")], login: AsOption
) -> None:
    """End a hold."""
    from reading_queue.services import retention

    hub, viewer = _who(context, login)
    retention.release_hold(hub, viewer, hold_id)
    typer.echo("released")


@retention_app.command()
def request(
    context: typer.Context, site: SiteArgument, study: StudyArgument, reason: ReasonOption, login: AsOption
) -> None:
    """Ask for a study to be deleted whose time is over; another person decides. Prints the request's id."""
    from reading_queue.services import retention

    hub, viewer = _who(context, login)
    typer.echo(retention.request_deletion(hub, viewer, site, study, reason))


@retention_app.command()
def approve(
    context: typer.Context, request_id: Annotated[str, typer.Argument(help="As `list` shows it.")], login: AsOption
) -> None:
    """Delete for good what another person has asked to delete."""
    from reading_queue.services import retention

    hub, viewer = _who(context, login)
    retention.decide_deletion(hub, viewer, request_id, approve=True)
    typer.echo("approved; the study is being deleted")


@retention_app.command()
def refuse(
    context: typer.Context, request_id: Annotated[str, typer.Argument(help="As `list` shows it.")], login: AsOption
) -> None:
    """Keep what another person has asked to delete."""
    from reading_queue.services import retention

    hub, viewer = _who(context, login)
    retention.decide_deletion(hub, viewer, request_id, approve=False)
    typer.echo("refused; the study stays")


def _who(context: typer.Context, login: str) -> tuple[Hub, Viewer]:
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
