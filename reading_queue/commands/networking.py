"""`counterpart-hub network`: the network taken from files and given as files.

One YAML file, or a folder of CSV files for spreadsheets (deploy/hub/network.example.yaml tells the format).
"""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from reading_queue.commands.acting import CommandAsOption, command_author

if TYPE_CHECKING:
    from reading_queue.domain.network_faults import Fault, Places
    from reading_queue.services.hub import Hub
    from reading_queue.services.network.network import ImportPlan, NetworkLoaded

network_app = typer.Typer(help="The network: organisations, agreements, people, duty.", no_args_is_help=True)

LINES_MAX: Final = 40  # of each kind of change, unless all are asked for


class Language(StrEnum):
    """In which words it is told."""

    ZH = "zh"
    EN = "en"


class Format(StrEnum):
    """In which form a network is written."""

    YAML = "yaml"
    CSV = "csv"


FileArgument = Annotated[
    Path,
    typer.Argument(help="The network: a YAML file, a folder of CSV files, one of those, or a ZIP archive of either."),
]
LanguageOption = Annotated[Language, typer.Option(help="The language of the words.")]


@network_app.command("import")
def import_file(
    context: typer.Context,
    file: FileArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="The file is the whole network: agreements it does not name end, accounts it does not name are "
            "closed, in so far as it has such a section. Without it, what is not named is left as it is.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before it is done.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every line, however many.")] = False,
    name: CommandAsOption = None,
    language: LanguageOption = Language.EN,
) -> None:
    """Say what a network's file adds, changes and ends, then do it in one transaction.

    Every fault is told with file, line and field, all together, and then nothing is changed. The same file again
    changes nothing.
    """
    from reading_queue.bootstrap import build_hub
    from reading_queue.domain.network_words import PLAN
    from reading_queue.services.network.network import load_network
    from reading_queue.services.network.network_document import NetworkInvalid

    author = command_author(name)
    try:
        document, places, faults = read_network(file)
        hub = build_hub(context.obj.settings)
        plan = _plan(hub, (document, places, faults), whole=whole)
    except NetworkInvalid as exc:
        for words in exc.told(language):
            typer.echo(words, err=True)
        raise typer.Exit(1) from exc
    _tell(plan, language, None if everything else LINES_MAX)
    if dry_run:
        if plan.changes:
            typer.echo(PLAN[language]["dry_run"])
        return
    if plan.changes and sys.stdin.isatty() and not yes:
        typer.confirm({"zh": "现在导入？", "en": "Import it now?"}[language], abort=True)
    loaded = load_network(hub, document, places, whole=whole, told=plan.fingerprint, author=author)
    _tell_done(loaded, language)


@network_app.command("load")
def load(context: typer.Context, file: FileArgument, name: CommandAsOption = None) -> None:
    """Do as `import --yes` does."""
    import_file(context, file, yes=True, name=name)


@network_app.command("export")
def export(
    context: typer.Context,
    target: Annotated[Path, typer.Argument(help="The YAML file, or the folder for CSV files.")],
    format_: Annotated[
        Format | None, typer.Option("--format", help="yaml or csv; without it, csv for a folder.", show_default=False)
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], help="As it was at the end of this day.", show_default=False),
    ] = None,
    zone: Annotated[
        str,
        typer.Option(
            help="The time zone in which that day ends, such as Asia/Urumqi; without it, that of most organisations.",
            show_default=False,
        ),
    ] = "",
    language: Annotated[Language, typer.Option(help="The language of the columns' names.")] = Language.EN,
) -> None:
    """Write the network as files that, imported again, change nothing. They hold no passwords."""
    from reading_queue.bootstrap import build_hub
    from reading_queue.domain.network_words import PLAN
    from reading_queue.errors import Invalid
    from reading_queue.services.network.network import end_of_day, export_network
    from reading_queue.services.network.network_csv import write_csv_set
    from reading_queue.services.network.network_yaml import write_yaml

    chosen = format_ or (Format.CSV if target.is_dir() or not target.suffix else Format.YAML)
    hub = build_hub(context.obj.settings)
    moment = end_of_day(hub, as_of.date(), zone) if as_of is not None else None
    document = export_network(hub, moment)
    if moment is not None:
        typer.echo(PLAN[language]["as_of"].format(moment=f"{moment:%Y-%m-%d %H:%M}", zone=moment.tzinfo), err=True)
    try:
        if chosen is Format.YAML:
            files = {target: write_yaml(document)}
        else:
            target.mkdir(parents=True, exist_ok=True)
            files = {target / name: data for name, data in write_csv_set(document, language).items()}
        for path, data in files.items():
            path.write_bytes(data)
            typer.echo(path)
    except OSError as exc:
        raise Invalid(f"{exc.filename or target}: {exc.strerror}") from exc


def read_network(file: Path) -> tuple[dict[str, Any], Places, list[Fault]]:
    """Return the document, where everything in it stands, and what is wrong with CSV files as such.

    Raises:
        NetworkInvalid: nothing can be understood of it.
    """
    from reading_queue.domain.network_faults import Fault, Place
    from reading_queue.services.network.network_csv import FILES
    from reading_queue.services.network.network_document import NetworkInvalid
    from reading_queue.services.network.network_files import read_files

    try:
        if not file.is_dir():
            return read_files({file.name: file.read_bytes()})
        tables = {one.name: one.read_bytes() for one in sorted(file.glob("*.csv"))}
    except FileNotFoundError as exc:
        raise NetworkInvalid([Fault("no_file")], {(): Place(str(file), 0)}) from exc
    except OSError as exc:
        fault = Fault("not_readable", (), {"words": exc.strerror})
        raise NetworkInvalid([fault], {(): Place(str(file), 0)}) from exc
    if not tables.keys() & FILES.keys():
        raise NetworkInvalid([Fault("no_tables", (), {"expected": ", ".join(FILES)})], {(): Place(str(file), 0)})
    return read_files(tables)


def _plan(hub: Hub, read: tuple[dict[str, Any], Places, list[Fault]], *, whole: bool) -> ImportPlan:
    from reading_queue.services.network.network import plan_import

    return plan_import(hub, *read, whole=whole)


def _tell(plan: ImportPlan, language: str, lines_max: int | None) -> None:
    from reading_queue.domain.network_telling import tell_changes
    from reading_queue.domain.network_words import PLAN

    for line in tell_changes(plan.changes, plan.unchanged, language, lines_max):
        typer.echo(line)
    for words in plan.told_warnings(language):
        typer.echo(PLAN[language]["warning"] + words)


def _tell_done(loaded: NetworkLoaded, language: str) -> None:
    from reading_queue.domain.network_words import PLAN

    counts = {name: getattr(loaded, name) for name in ("organisations", "sites", "agreements", "accounts")}
    typer.echo(PLAN[language]["done"].format(**counts))
    for login, password in loaded.passwords.items():
        typer.echo(PLAN[language]["password"].format(login=login, password=password))
