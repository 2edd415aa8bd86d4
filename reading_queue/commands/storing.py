"""`counterpart-hub storage`: what is stored, whether it is whole, and the catalogue made again from it."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from reading_queue.commands.amending import amend_app
from reading_queue.commands.exporting import export
from reading_queue.commands.retaining import retention_app

if TYPE_CHECKING:
    from reading_queue.services.hub import Hub

storage_app = typer.Typer(
    help="What is stored: whether it is whole, the catalogue made again, and studies handed out.", no_args_is_help=True
)

DIFFERENCES_SHOWN_MAX: Final = 20

storage_app.add_typer(retention_app, name="retention")
storage_app.command()(export)
storage_app.add_typer(amend_app, name="amend")


@storage_app.command()
def verify(
    context: typer.Context,
    study: Annotated[str | None, typer.Option("--study", help="One Study Instance UID; else everything.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte and compare its digest.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each fault, for machines.")] = False,
) -> None:
    """Compare the catalogue with the object store, both ways; exit 1 when anything is missing, changed or unknown."""
    from reading_queue.services.holdings.checking import Checked, check_stored

    checked, faults = Checked(), 0
    for fault in check_stored(_hub(context), checked, study_uid=study, deep=deep):
        faults += 1
        if as_json:
            typer.echo(json.dumps({"code": fault.code, "key": fault.key, "words": fault.words}))
        else:
            typer.echo(f"! {fault.key}: {fault.words}")
    if not as_json:
        typer.echo(f"{checked.packs} packs, {checked.objects} objects looked at, {faults} faults")
    if faults:
        raise typer.Exit(1)


@storage_app.command()
def digest(context: typer.Context) -> None:
    """Print the digest of the whole catalogue: two databases with the same one hold the same."""
    from storage.catalogue.snapshot import take_snapshot

    with _hub(context).transaction() as session:
        snapshot = take_snapshot(session)
    typer.echo(f"{snapshot.sha256}  {_in_words(snapshot.counts)}")


@storage_app.command()
def rebuild(
    context: typer.Context,
    from_bytes: Annotated[
        bool, typer.Option("--from-bytes", help="Prove every pack anew instead of believing its record. Takes long.")
    ] = False,
    compare_with: Annotated[
        str | None, typer.Option("--compare-with", help="A database that should hold the same, as postgresql://…")
    ] = None,
) -> None:
    """Fill an empty database's catalogue from the object store; when it was cut off, run it again and it goes on.

    Do it before gateways are enrolled, so that nothing new arrives meanwhile. Accounts, agreements, orders, cases and
    reports are no part of it: they come from the database's own backup. Links between patients that persons decided are
    part of it; those that follow from facts are looked for again once the hub runs, in headers and the orders it has.
    """
    from reading_queue.services.holdings import rebuilding

    hub = _hub(context)
    rebuilt = rebuilding.rebuild(hub, from_bytes=from_bytes)
    for key, words in rebuilt.problems:
        typer.echo(f"! {key}: {words}")
    typer.echo(f"{rebuilt.studies} studies in {rebuilt.packs} packs; {len(rebuilt.problems)} problems")
    equal = compare_with is None or _compare(hub, compare_with)
    if rebuilt.problems or not equal:
        raise typer.Exit(1)


def _compare(hub: Hub, address: str) -> bool:
    """Say what differs between the hub's catalogue and that of another database."""
    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    from storage.catalogue.snapshot import differences, dump

    engine = sa.create_engine(sa.make_url(address).set(drivername="postgresql+psycopg"), hide_parameters=True)
    with hub.transaction() as ours, Session(engine) as theirs:
        found = differences(dump(ours), dump(theirs))
        shown = list(itertools.islice(found, DIFFERENCES_SHOWN_MAX))
        more = sum(1 for _ in found)
    engine.dispose()
    for kind, key in shown:
        typer.echo(f"! {kind} {key[0] if kind == 'patient' else '/'.join(key)} differs")  # no patient is named
    typer.echo("the two catalogues are equal" if not shown else f"{len(shown) + more} differences")
    return not shown


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.items())


def _hub(context: typer.Context) -> Hub:
    from reading_queue.bootstrap import build_hub

    return build_hub(context.obj.settings)
