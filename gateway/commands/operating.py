"""The commands with which a person acts on studies, the line and deliveries while the gateway serves.

Each writes into the journal; the process that serves notices within a second, or when it is started.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.loading import fail, load_or_fail
from storage.contract.lanes import Lane

if TYPE_CHECKING:  # each command loads only what it needs
    from gateway.journal.database import Journal
    from gateway.operations import Asker
    from storage.contract.identifiers import Uid

study_app = typer.Typer(help="Act on one study: pause, resume, cancel, requeue, complete, lane.", no_args_is_help=True)
line_app = typer.Typer(help="Pause, resume or limit all uploads, or show how the line is.", no_args_is_help=True)
quarantine_app = typer.Typer(
    help="Objects that were refused or found damaged: list them, try one again, dismiss one.", no_args_is_help=True
)
deliveries_app = typer.Typer(help="Act on reports that wait for their delivery.", no_args_is_help=True)

StudyArgument = Annotated[str, typer.Argument(help="The Study Instance UID, as `status` shows it.")]


@study_app.command("pause")
def pause_study(context: typer.Context, study_uid: StudyArgument) -> None:
    """Send nothing more of the study until it is resumed."""
    from gateway import operations

    with _operating(context, study_uid) as (journal, asker, uid):
        operations.pause_study(journal, asker, uid)
    print("Paused.")


@study_app.command("resume")
def resume_study(context: typer.Context, study_uid: StudyArgument) -> None:
    """Let a paused study go on."""
    from gateway import operations

    with _operating(context, study_uid) as (journal, asker, uid):
        operations.resume_study(journal, asker, uid)
    print("It goes on.")


@study_app.command("cancel")
def cancel_study(context: typer.Context, study_uid: StudyArgument) -> None:
    """Take the study out of the queue; its files stay here until it is requeued."""
    from gateway import operations

    with _operating(context, study_uid) as (journal, asker, uid):
        unconfirmed = operations.cancel_study(journal, asker, uid)
    print(
        f"Cancelled. {unconfirmed} images that the hub has not confirmed stay in the spool;"
        f" `study requeue {study_uid}` sends them after all."
    )


@study_app.command("requeue")
def requeue_study(
    context: typer.Context,
    study_uid: StudyArgument,
    anew: Annotated[
        bool, typer.Option("--anew", help="Declare and plan it once more, as if nothing was sent.")
    ] = False,
) -> None:
    """Try the study again now, also one that was paused or cancelled."""
    from gateway import operations

    with _operating(context, study_uid) as (journal, asker, uid):
        operations.requeue_study(journal, asker, uid, anew=anew)
    print("It is tried again now.")


@study_app.command("complete")
def complete_study(context: typer.Context, study_uid: StudyArgument) -> None:
    """Treat what has arrived of the study as all of it, and send it."""
    from gateway import operations

    with _operating(context, study_uid) as (journal, asker, uid):
        operations.complete_study(journal, asker, uid)
    print("What has arrived counts as the whole study.")


@study_app.command("lane")
def change_lane(context: typer.Context, study_uid: StudyArgument, lane: Lane) -> None:
    """Move the study to another lane: stat, urgent, routine or background."""
    from gateway import operations

    with _operating(context, study_uid) as (journal, asker, uid):
        operations.change_study_lane(journal, asker, uid, lane)
    print(f"It travels as {lane}.")


@line_app.command("pause")
def pause_line(context: typer.Context) -> None:
    """Stop all uploads now; receiving goes on."""
    from gateway import operations

    with _operating(context) as (journal, asker, _):
        operations.pause_line(journal, asker)
    print("All uploads are paused. `line resume` lets them go on.")


@line_app.command("resume")
def resume_line(context: typer.Context) -> None:
    """Let uploads go on."""
    from gateway import operations

    with _operating(context) as (journal, asker, _):
        operations.resume_line(journal, asker)
    print("Uploads go on.")


@line_app.command("limit")
def limit_line(
    context: typer.Context,
    mbit_s: Annotated[float, typer.Argument(help="10^6 bit per second of all uploads together; 0: as the plan says.")],
) -> None:
    """Limit all uploads together, below what the plan allows."""
    from gateway import operations

    with _operating(context) as (journal, asker, _):
        operations.limit_line(journal, asker, mbit_s or None)
    print(f"Uploads use at most {mbit_s} Mbit/s." if mbit_s else "The plan alone counts.")


@line_app.command("status")
def line_status(context: typer.Context) -> None:
    """Show how fast the line is, what limits it, and when the hub was last reached."""
    from gateway.bootstrap import open_journal
    from gateway.status import line_words, read_status

    print(line_words(read_status(open_journal(load_or_fail(context.obj)))["line"]))


QuarantineArgument = Annotated[str, typer.Argument(help="The object's number, as `quarantine list` shows it.")]


@quarantine_app.command("list")
def list_quarantine(
    context: typer.Context,
    all_of_it: Annotated[bool, typer.Option("--all", help="Also what was dismissed.")] = False,
) -> None:
    """Show what lies in quarantine, since when and why; no names of patients."""
    from gateway.bootstrap import open_journal
    from gateway.journal import quarantine

    journal = open_journal(load_or_fail(context.obj))
    rows = quarantine.list_quarantine(journal, quarantine.ROWS_MAX, settled=None if all_of_it else False)
    for row in rows:
        state = "dismissed" if row.settled_at else "waits to be tried again" if row.is_due else "needs a person"
        print(f"{row.quarantine_id}  {row.at:%Y-%m-%d %H:%M} UTC  {state}: {row.problem or row.reason}")
    if not rows:
        print("Nothing needs a person.")


@quarantine_app.command("release")
def release_quarantined(context: typer.Context, quarantine_id: QuarantineArgument) -> None:
    """Try an object again, as if it had just arrived; refused again, it stays."""
    from gateway import operations

    with _operating(context) as (journal, asker, _):
        operations.release_quarantined(journal, asker, quarantine_id)
    print("It is tried again now; `quarantine list` shows when it was refused again.")


@quarantine_app.command("dismiss")
def dismiss_quarantined(context: typer.Context, quarantine_id: QuarantineArgument) -> None:
    """Say that nothing has to be done about an object; it is kept until its time is over."""
    from gateway import operations

    with _operating(context) as (journal, asker, _):
        operations.dismiss_quarantined(journal, asker, quarantine_id)
    print("Dismissed. The file is kept for as long as disk.quarantine_days says.")


@deliveries_app.command("requeue")
def requeue_deliveries(
    context: typer.Context,
    document_id: Annotated[str | None, typer.Option("--document", help="Only this document's.")] = None,
    target: Annotated[str | None, typer.Option("--target", help='Only those to this target, e.g. "pacs:main".')] = None,
) -> None:
    """Try deliveries that wait for their next attempt now; with both options also one that has ended, once more."""
    from gateway import operations

    with _operating(context) as (journal, asker, _):
        hurried = operations.requeue_deliveries(journal, asker, document_id=document_id, target=target)
    print(f"{hurried} deliveries are tried now.")


@deliveries_app.command("cancel")
def cancel_delivery(
    context: typer.Context,
    document_id: Annotated[str, typer.Option("--document", help="The document, as `status` names it.")],
    target: Annotated[str, typer.Option("--target", help='The target, e.g. "pacs:main".')],
) -> None:
    """Give one delivery up. The document stays here, and `deliveries requeue` with both options makes it again."""
    from gateway import operations

    with _operating(context) as (journal, asker, _):
        operations.cancel_delivery(journal, asker, document_id, target)
    print(f"Document {document_id} is not delivered to {target} any more. The hub is told.")


@contextmanager
def _operating(context: typer.Context, study_uid: str | None = None) -> Iterator[tuple[Journal, Asker, Uid]]:
    from gateway.bootstrap import open_journal
    from gateway.clock import utc_now
    from gateway.operations import COMMAND_LINE, Asker, NotPossible
    from storage.contract.identifiers import InvalidIdentifier, Uid, parse_uid

    try:
        uid = parse_uid(study_uid) if study_uid is not None else Uid("")
        yield open_journal(load_or_fail(context.obj)), Asker(COMMAND_LINE, utc_now()), uid
    except (InvalidIdentifier, NotPossible) as exc:
        fail(str(exc))
