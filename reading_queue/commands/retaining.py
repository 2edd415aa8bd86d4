"""`counterpart-hub storage retention`: what may be deleted, what must not be, and the two persons who decide.

Each command is done by somebody: `--as LOGIN`, with the password asked for, or read as a line from a pipe.
"""

from __future__ import annotations

from typing import Annotated

import typer

from reading_queue.commands.acting import AsOption, acting_person

retention_app = typer.Typer(help="How long studies are kept, and who lets them go.", no_args_is_help=True)

SiteArgument = Annotated[str, typer.Argument(help="The site, as in the network.")]
StudyArgument = Annotated[str, typer.Argument(help="The Study Instance UID.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, in words that name no patient.")]


@retention_app.command("list")
def list_studies(context: typer.Context, login: AsOption) -> None:
    """Show the open requests, and the studies whose time is over."""
    from reading_queue.services.holdings import retention

    hub, viewer = acting_person(context, login)
    for one in retention.list_requests(hub, viewer):
        typer.echo(f"{one.state:<9}  {one.request_id}  {one.site_id}  {one.study_uid}  {one.reason}")
    for study in retention.list_due(hub, viewer):
        typer.echo(f"since {study.keep_until}  {study.site_id}  {study.study_uid}")


@retention_app.command()
def hold(
    context: typer.Context, site: SiteArgument, study: StudyArgument, reason: ReasonOption, login: AsOption
) -> None:
    """Keep a study from being deleted, whatever its age, until the hold is released; prints the hold's id."""
    from reading_queue.services.holdings import retention

    hub, viewer = acting_person(context, login)
    typer.echo(retention.place_hold(hub, viewer, site, study, reason))


@retention_app.command()
def release(
    context: typer.Context, hold_id: Annotated[str, typer.Argument(help="As `hold` printed it.")], login: AsOption
) -> None:
    """End a hold."""
    from reading_queue.services.holdings import retention

    hub, viewer = acting_person(context, login)
    retention.release_hold(hub, viewer, hold_id)
    typer.echo("released")


@retention_app.command()
def request(
    context: typer.Context, site: SiteArgument, study: StudyArgument, reason: ReasonOption, login: AsOption
) -> None:
    """Ask for a study to be deleted whose time is over; another person decides. Prints the request's id."""
    from reading_queue.services.holdings import retention

    hub, viewer = acting_person(context, login)
    typer.echo(retention.request_deletion(hub, viewer, site, study, reason))


@retention_app.command()
def approve(
    context: typer.Context, request_id: Annotated[str, typer.Argument(help="As `list` shows it.")], login: AsOption
) -> None:
    """Delete for good what another person has asked to delete."""
    from reading_queue.services.holdings import retention

    hub, viewer = acting_person(context, login)
    retention.decide_deletion(hub, viewer, request_id, approve=True)
    typer.echo("approved; the study is being deleted")


@retention_app.command()
def refuse(
    context: typer.Context, request_id: Annotated[str, typer.Argument(help="As `list` shows it.")], login: AsOption
) -> None:
    """Keep what another person has asked to delete."""
    from reading_queue.services.holdings import retention

    hub, viewer = acting_person(context, login)
    retention.decide_deletion(hub, viewer, request_id, approve=False)
    typer.echo("refused; the study stays")
