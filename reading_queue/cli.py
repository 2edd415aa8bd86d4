"""`counterpart-hub`: the hub's command line. Results go to stdout, the log and errors in words to stderr.

Exit status: 0 done, 1 refused or failed, 2 wrong use or configuration.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reading_queue.commands.acting import CommandAsOption, command_author
from reading_queue.commands.linking import links_app
from reading_queue.commands.networking import network_app
from reading_queue.commands.simulating import simulate
from reading_queue.commands.storing import storage_app
from reading_queue.domain.roles import Role
from reading_queue.log import configure_logging
from reading_queue.settings import HubSettings, load_settings, serving
from storage.configuration import ConfigurationError, words_of_denied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reading_queue.diagnosis import Finding
    from reading_queue.services.arrival.custody import CustodyLine
    from reading_queue.services.hub import Hub

HELP = """The hub of a Counterpart network: takes studies from gateways, brings them to the right expert, and returns
the signed report.

To begin: `counterpart-hub check`, then `counterpart-hub serve`; in another window `counterpart-hub network import FILE`
and `counterpart-hub site enrol SITE_ID` for each gateway. Without a configuration file the hub runs its own PostgreSQL
and Redis and keeps everything in one data directory.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
site_app = typer.Typer(help="Sites and their gateways.", no_args_is_help=True)
account_app = typer.Typer(help="Accounts of people.", no_args_is_help=True)
jobs_app = typer.Typer(help="Jobs that failed for good.", no_args_is_help=True)
app.add_typer(network_app, name="network")
app.add_typer(site_app, name="site")
app.add_typer(account_app, name="account")
app.add_typer(jobs_app, name="jobs")
app.add_typer(storage_app, name="storage")
app.add_typer(links_app, name="links")
app.command()(simulate)


class RoleName(StrEnum):
    """The roles that `serve` can run alone."""

    WEB = "web"
    WORKER = "worker"
    SCHEDULER = "scheduler"
    HL7 = "hl7"


@dataclasses.dataclass(frozen=True)
class Invocation:
    """What every command is given: the settings, and the file they came from."""

    settings: HubSettings
    config: Path | None


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="COUNTERPART_HUB_CONFIG", help="The configuration file (TOML).", show_default=False
    ),
]


@app.callback()
def begin(context: typer.Context, config: ConfigOption = None) -> None:
    """Read the configuration."""
    if context.invoked_subcommand is None or "--help" in sys.argv:
        return
    settings = load_settings(config)
    configure_logging(settings.log.format, settings.log.level, role=context.invoked_subcommand)
    context.obj = Invocation(settings, config.absolute() if config is not None else None)


@app.command()
def serve(
    context: typer.Context,
    role: Annotated[RoleName | None, typer.Argument(help="One role alone, for machines that share the work.")] = None,
    queues: Annotated[
        str, typer.Option(help="What a worker serves, as in routing,transfers; else [worker] queues says it.")
    ] = "",
    listening: Annotated[
        int | None, typer.Option("--socket", hidden=True, help="The listening socket that the supervisor hands over.")
    ] = None,
) -> None:
    """Run the hub until Ctrl-C: the embedded servers where no others are configured, and every role."""
    from storage.open_files import allow_many_open_files

    invocation: Invocation = context.obj
    settings = invocation.settings
    if queues:
        if role is not RoleName.WORKER:
            raise typer.BadParameter("only `serve worker` serves queues", param_hint="--queues")
        settings = serving(settings, queues)
    allow_many_open_files()  # and those of the processes it starts
    if role is None:
        _serve_everything(invocation)
        return
    configure_logging(settings.log.format, settings.log.level, role=role)
    serve_role: dict[RoleName, Callable[[HubSettings], None]] = {
        RoleName.WEB: lambda settings: _serve_web(settings, listening),
        RoleName.WORKER: _serve_worker,
        RoleName.SCHEDULER: _serve_scheduler,
        RoleName.HL7: _serve_hl7,
    }
    serve_role[role](settings)


@app.command()
def status(context: typer.Context) -> None:
    """Say what runs, what waits and what failed; exit 1 when something is wrong."""
    from reading_queue import diagnosis

    settings: HubSettings = context.obj.settings
    for child in diagnosis.children(settings):
        typer.echo(_child_line(settings, child))
    _report(diagnosis.check_running(settings))


@app.command()
def check(context: typer.Context) -> None:
    """Try the configuration and every dependency, say what is wrong and how to mend it."""
    from reading_queue import bootstrap, diagnosis

    settings: HubSettings = context.obj.settings
    findings = list(diagnosis.check_machine(settings))
    try:
        bootstrap.database_url(settings)
        bootstrap.broker_url(settings)
    except bootstrap.HubNotRunning:
        typer.echo(f"  no hub runs on {settings.data_dir} yet: its servers are tried when it does")
    else:
        findings += diagnosis.check_running(settings)
    _report(findings)


@app.command()
def migrate(context: typer.Context) -> None:
    """Bring the database to this version's schema. `serve` does it by itself."""
    from reading_queue import bootstrap

    bootstrap.migrate(context.obj.settings)
    typer.echo("the database is up to date")


@app.command()
def custody(
    context: typer.Context,
    study_uid: Annotated[str, typer.Argument(help="The Study Instance UID.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show a study's ledger: where it was, when, and who had it."""
    from reading_queue.services.arrival.custody import ledger_of

    lines = ledger_of(_hub(context), study_uid)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(line) for line in lines], default=str, ensure_ascii=False))
    elif lines:
        for line in lines:
            typer.echo(_custody_line(line))
    if not lines:
        raise Refused(f"nothing is known of a study {study_uid}")


@site_app.command("enrol")
def site_enrol(
    context: typer.Context,
    site_id: Annotated[str, typer.Argument(help="The site, as in the network.")],
    name: CommandAsOption = None,
) -> None:
    """Print a one-time code with which the site's gateway enrols: `counterpart-gateway enrol --code CODE`."""
    from reading_queue.services.access.enrolment import issue_enrolment_code

    typer.echo(issue_enrolment_code(_hub(context), site_id, command_author(name).command_as))


@site_app.command("enrol-reader")
def site_enrol_reader(
    context: typer.Context,
    organisation_id: Annotated[str, typer.Argument(help="The assisting hospital, as in the network.")],
    name: CommandAsOption = None,
) -> None:
    """Print a one-time code for a gateway in reader mode, at a hospital whose physicians read on their workstations."""
    from reading_queue.services.access.enrolment import issue_reader_code

    typer.echo(issue_reader_code(_hub(context), organisation_id, command_author(name).command_as))


@account_app.command("create")
def account_create(
    context: typer.Context,
    login: Annotated[str, typer.Argument(help="The name to log in with.")],
    name: Annotated[str, typer.Option(help="The person's name.")],
    role: Annotated[Role, typer.Option(help="What the account may do.")],
    organisation: Annotated[str, typer.Option(help="The organisation's code, as in the network.")],
    language: Annotated[str, typer.Option(help="zh or en.")] = "zh",
    by: CommandAsOption = None,
) -> None:
    """Make an account; the password is asked for and not shown, or read as a line from a pipe."""
    from reading_queue.services.access.accounts import NewAccount, create_account

    hub, author = _hub(context), command_author(by)
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise Refused("an account needs a password")
    account_id = create_account(hub, NewAccount(login, name, password, role, organisation, language), author=author)
    typer.echo(f"account {login} made ({account_id})")


@account_app.command("reset-password")
def account_reset_password(
    context: typer.Context,
    login: Annotated[str, typer.Argument(help="The name the person logs in with.")],
    by: CommandAsOption = None,
) -> None:
    """Print a password for one sign-in, after which its owner chooses another; their sessions end."""
    from reading_queue.services.network.network_people import reset_password_of

    typer.echo(reset_password_of(_hub(context), login, command_author(by)))


@jobs_app.command("dead")
def jobs_dead(context: typer.Context) -> None:
    """Show the jobs that failed for good: number, when, what, about what, and why."""
    from reading_queue.services.motion.dead_jobs import find_dead_jobs

    dead = find_dead_jobs(_hub(context))
    for one in dead:
        at = one.failed_at.astimezone().isoformat(sep=" ", timespec="seconds")
        typer.echo(f"{one.dead_job_id:>6}  {at}  {one.job:<24} {one.subject_id}  {one.reason}")
    if not dead:
        typer.echo("none")


@jobs_app.command("retry")
def jobs_retry(
    context: typer.Context,
    numbers: Annotated[list[int], typer.Argument(help="As `jobs dead` shows them.")],
    name: CommandAsOption = None,
) -> None:
    """Launch jobs again that failed for good, with all their attempts before them."""
    from reading_queue.services.motion.dead_jobs import retry

    hub, author = _hub(context), command_author(name)
    for number in numbers:
        retry(hub, number, author)
        typer.echo(f"job {number} is launched again")


def main() -> None:
    """Run the command line; what can be expected to go wrong is said in words."""
    try:
        app()
    except ConfigurationError as exc:
        typer.echo("The configuration cannot be used:\n" + "\n".join(f"  {one}" for one in exc.problems), err=True)
        sys.exit(2)
    except Exception as exc:
        words = _in_words(exc)
        if words is None:
            raise
        typer.echo(words, err=True)
        sys.exit(1)


class Refused(Exception):
    """The command cannot be done; the message says why."""


def _expected_errors() -> tuple[type[Exception], ...]:
    from sqlalchemy.exc import OperationalError

    from reading_queue.bootstrap import HubNotRunning
    from reading_queue.db.schema import SchemaOutdated
    from reading_queue.embedded import EmbeddedServerError
    from reading_queue.errors import HubError
    from reading_queue.listening import CannotListen
    from reading_queue.services.access.keys import KeyFileDamaged
    from storage.objects.protocol import ObjectStoreError
    from storage.tls import CertificateUnusable

    own = (Refused, HubNotRunning, EmbeddedServerError, HubError, KeyFileDamaged, SchemaOutdated, ObjectStoreError)
    return (*own, CannotListen, CertificateUnusable, OperationalError)


def _in_words(exc: Exception) -> str | None:
    from sqlalchemy.exc import OperationalError

    if isinstance(exc, OperationalError):
        return "The database does not answer. Is the hub running? `counterpart-hub check` tells more."
    if isinstance(exc, _expected_errors()):
        return str(exc)
    if denied := words_of_denied(exc):
        return f"{denied}: run this as the user who runs the hub, or let data_dir name a folder of your own"
    return None


def _hub(context: typer.Context) -> Hub:
    from reading_queue.bootstrap import build_hub

    return build_hub(context.obj.settings)


def _serve_everything(invocation: Invocation) -> None:
    from reading_queue.bootstrap import build_supervisor, port_file
    from reading_queue.embedded.directories import owned, remove_socket_directory
    from reading_queue.embedded.signals import SignalWaiter
    from reading_queue.listening import bind

    settings, data_dir = invocation.settings, invocation.settings.data_dir
    with owned(data_dir):
        try:
            with (
                SignalWaiter() as signals,
                bind(settings.web.host, settings.web.port, port_file(settings)) as listening,
            ):
                build_supervisor(settings, invocation.config, listening).run(signals)
        finally:
            remove_socket_directory(data_dir)


def _serve_web(settings: HubSettings, descriptor: int | None) -> None:
    import asyncio

    from reading_queue import bootstrap
    from reading_queue.listening import address_of, bind, inherit
    from reading_queue.web.server import serve

    listening = (
        bind(settings.web.host, settings.web.port, bootstrap.port_file(settings))
        if descriptor is None
        else inherit(descriptor)
    )
    hub = bootstrap.build_hub(settings, public_url=address_of(listening))
    beat = bootstrap.heartbeat(settings, RoleName.WEB).beat
    asyncio.run(serve(lambda: bootstrap.build_web(settings, hub), listening, beat))


def _serve_hl7(settings: HubSettings) -> None:
    import asyncio

    from reading_queue import bootstrap
    from reading_queue.listening import bind
    from storage.screens.offload import Offload

    tls = bootstrap.build_hl7_tls(settings)
    hub = bootstrap.build_hub(settings)
    listening = bind(settings.hl7.host, settings.hl7.port, bootstrap.hl7_port_file(settings))
    run = Offload(settings.database.connections_max, name="hl7")
    try:
        listener = bootstrap.build_hl7(settings, hub, tls, run)
        asyncio.run(listener.serve(listening, bootstrap.heartbeat(settings, RoleName.HL7).beat))
    finally:
        run.close()
        hub.engine.dispose()


def _serve_worker(settings: HubSettings) -> None:
    from reading_queue import bootstrap

    raise typer.Exit(bootstrap.run_worker_role(settings))


def _serve_scheduler(settings: HubSettings) -> None:
    from reading_queue.bootstrap import run_scheduler_role
    from reading_queue.embedded.signals import SignalWaiter

    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            run_scheduler_role(settings, stop)
        except Exception as exc:  # noqa: BLE001 -- handed to the main thread, which raises it
            failures.append(exc)

    with SignalWaiter() as signals:
        thread = threading.Thread(target=run, name="scheduler")
        thread.start()
        while thread.is_alive() and not signals.wait(0.2):
            pass
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def _report(findings: Iterable[Finding]) -> None:
    wrong = False
    for finding in findings:
        wrong |= not finding.fine
        typer.echo(f"{'  ' if finding.fine else '! '}{finding.name}: {finding.words}")
    if wrong:
        raise typer.Exit(1)


def _child_line(settings: HubSettings, child: dict[str, object]) -> str:
    from reading_queue.bootstrap import heartbeat, utc_now

    line = f"  {child['name']:<12} process {child['pid']}, restarted {child['restarts']} times"
    if child["silences"]:
        line += f", {child['silences']} of them because it hung"
    last = heartbeat(settings, str(child["name"])).last()
    return line if last is None else f"{line}, last heard {max(0.0, utc_now().timestamp() - last):.0f} s ago"


def _custody_line(line: CustodyLine) -> str:
    after: Any = "" if line.elapsed_s is None else f"+{line.elapsed_s:.3f} s"
    at = line.corrected_at.astimezone().isoformat(sep=" ", timespec="milliseconds")
    return f"{at}  {after:>12}  {line.hop:<18} {line.site_id:<16} {line.place}"
