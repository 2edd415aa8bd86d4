"""`counterpart-hub storage amend`: corrections without touching originals, each by a named person with a reason."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from reading_queue.commands.acting import AsOption, acting_person
from reading_queue.commands.retaining import ReasonOption, SiteArgument, StudyArgument

amend_app = typer.Typer(
    help="Correct whose a study is and what of it is shown; originals stay as they came.", no_args_is_help=True
)


@amend_app.command()
def merge(
    context: typer.Context,
    site: SiteArgument,
    from_number: Annotated[str, typer.Argument(help="The Patient ID that is given up.")],
    into_number: Annotated[str, typer.Argument(help="The Patient ID that stays.")],
    reason: ReasonOption,
    login: AsOption,
) -> None:
    """Let all studies under one Patient ID, those to come too, belong to another one (HL7 A40); prints the id."""
    from reading_queue.services.corrections import amendments

    hub, viewer = acting_person(context, login)
    typer.echo(amendments.merge_patients(hub, viewer, site, from_number, into_number, reason))


@amend_app.command()
def move(
    context: typer.Context,
    site: SiteArgument,
    study: StudyArgument,
    to_number: Annotated[str, typer.Argument(help="The Patient ID that the study belongs to.")],
    reason: ReasonOption,
    login: AsOption,
) -> None:
    """Let a study belong to another patient of its site; prints the id."""
    from reading_queue.services.corrections import amendments

    hub, viewer = acting_person(context, login)
    typer.echo(amendments.move_study(hub, viewer, site, study, to_number, reason))


@amend_app.command()
def reject(
    context: typer.Context,
    site: SiteArgument,
    study: StudyArgument,
    code: Annotated[
        str,
        typer.Option(
            "--code", help="113001 quality, 113037 patient safety, 113038 wrong worklist entry, 113039 retention."
        ),
    ],
    reason: ReasonOption,
    login: AsOption,
    series: Annotated[str | None, typer.Option("--series", help="This series only.")] = None,
    instance: Annotated[
        list[str] | None, typer.Option("--instance", help="This instance only; may be given several times.")
    ] = None,
) -> None:
    """Hide a study, a series or instances from readers by a rejection note (IHE IOCM); prints the id."""
    from reading_queue.services.corrections import rejecting

    hub, viewer = acting_person(context, login)
    done = rejecting.reject(
        hub, viewer, site, study, code, reason, series_uid=series, sop_instance_uids=tuple(instance or ())
    )
    typer.echo(done)


@amend_app.command()
def settle(
    context: typer.Context,
    site: SiteArgument,
    patient_number: Annotated[str, typer.Argument(help="The Patient ID whose studies contradict each other.")],
    keep: Annotated[Literal["held", "new"], typer.Option("--keep", help="What the record held, or the new study.")],
    reason: ReasonOption,
    login: AsOption,
) -> None:
    """Say which birth date and sex of a contradicted patient are right; prints the id."""
    from reading_queue.services.corrections import amendments

    hub, viewer = acting_person(context, login)
    typer.echo(amendments.settle_identity(hub, viewer, site, patient_number, keep, reason))


@amend_app.command()
def withdraw(
    context: typer.Context,
    amendment_id: Annotated[str, typer.Argument(help="As `list` shows it.")],
    reason: ReasonOption,
    login: AsOption,
) -> None:
    """Take a merge, a move or a rejection back; prints the withdrawal's id."""
    from reading_queue.services.corrections import amendments

    hub, viewer = acting_person(context, login)
    typer.echo(amendments.withdraw(hub, viewer, amendment_id, reason))


@amend_app.command("list")
def list_amendments(
    context: typer.Context,
    site: SiteArgument,
    login: AsOption,
    study: Annotated[str | None, typer.Option("--study", help="One study only.")] = None,
) -> None:
    """Show the corrections of a site or of a study, the newest first."""
    from reading_queue.services.corrections import amendments

    hub, viewer = acting_person(context, login)
    for one in amendments.list_amendments(hub, viewer, site, study):
        state = "withdrawn" if one.withdrawn_by_id else "in force"
        what = f"{one.kind} {one.content.get('code', '')}".rstrip()
        about = one.study_uid or "patients"
        typer.echo(f"{one.made_at:%Y-%m-%d %H:%M}  {one.amendment_id}  {state:<9}  {what}  {about}  {one.reason}")
