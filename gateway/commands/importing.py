"""Bringing in studies from a folder, a disk or a ZIP file.

A command writes what is wanted into the journal; the process that serves does it, also when it is started later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.commands.loading import fail, load_or_fail
from storage.contract.lanes import Lane

if TYPE_CHECKING:
    from gateway.journal.database import Journal
    from gateway.journal.imports import ImportRow

LISTED_MAX: Final = 20
LOOK_EVERY_S: Final = 0.5

import_app = typer.Typer(
    help="Bring in studies from a folder, a CD or a ZIP file, for scanners that cannot send.", no_args_is_help=True
)


@import_app.command("start")
def start_import(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="The folder, mounted disk or ZIP file.", exists=True)],
    lane: Annotated[Lane | None, typer.Option(help="How urgently its studies travel.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show how far it is, and end when it has ended.")] = False,
) -> None:
    """Import every study of a folder, disk or ZIP file; the source itself is never changed."""
    from gateway.bootstrap import open_journal
    from gateway.clock import utc_now
    from gateway.journal.actions import COMMAND_LINE
    from gateway.journal.imports import add_import

    journal = open_journal(load_or_fail(context.obj))
    path = source.resolve()
    import_id = add_import(journal, path, started_by=COMMAND_LINE, now=utc_now(), lane=lane)
    if not wait:
        print(f"Import {import_id} waits for the gateway; `import list` shows how far it is.")
        return
    _follow(journal, import_id)


@import_app.command("list")
def show_imports(context: typer.Context) -> None:
    """Show the newest imports, and why files were left out."""
    from gateway.bootstrap import open_journal
    from gateway.journal.imports import findings_of, list_imports

    journal = open_journal(load_or_fail(context.obj))
    for row in list_imports(journal, LISTED_MAX):
        print(f"{row.import_id}  {row.created_at.astimezone():%Y-%m-%d %H:%M}  {_told(row)}")
        for finding in findings_of(journal, row.import_id):
            print(f"    {finding.files} left out: {finding.reason}")


@import_app.command("cancel")
def stop_import(
    context: typer.Context, import_id: Annotated[str, typer.Argument(help="The import, as `import list` shows it.")]
) -> None:
    """Stop an import; what it has brought stays."""
    from gateway.bootstrap import open_journal
    from gateway.clock import utc_now
    from gateway.journal.imports import cancel_import

    if not cancel_import(open_journal(load_or_fail(context.obj)), import_id, utc_now()):
        fail("There is no such import under way.")
    print("Stopped. What it has brought stays.")


def _follow(journal: Journal, import_id: str) -> None:
    """Show an import until it has ended."""
    import threading

    from gateway.journal.imports import OPEN_STATES, ImportState, find_import, findings_of

    pause = threading.Event()
    told = ""
    row = find_import(journal, import_id)
    while row is not None and row.state in OPEN_STATES:
        if _told(row) != told:
            told = _told(row)
            print(told)
        pause.wait(LOOK_EVERY_S)
        row = find_import(journal, import_id)
    if row is None:
        fail("The import is gone from the journal.")
    print(_told(row))
    for finding in findings_of(journal, import_id):
        print(f"  {finding.files} left out: {finding.reason}")
    if row.state is not ImportState.DONE:
        raise typer.Exit(1)


def _told(row: ImportRow) -> str:
    counts = f"{row.stored} stored, {row.held} here already, {row.left_out} left out"
    problem = f"  {row.problem}" if row.problem else ""
    return f"{row.state}: {row.files_done} of {row.files or '?'} files; {counts}{problem}"
