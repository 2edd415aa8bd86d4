"""The command line of the gateway."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:  # each command loads only what it needs
    from gateway.checks import Check
    from gateway.settings import GatewaySettings

app = typer.Typer(
    name="counterpart-gateway",
    help=(
        "The box at the clinic: takes studies from scanners, keeps them safe, brings them to the hub, and brings signed"
        " reports home. Start with: enrol, then check, then serve."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="COUNTERPART_GATEWAY_CONFIG", help="The TOML file with the settings."),
]
DEFAULT_CONFIG = Path("gateway.toml")


@app.callback()
def begin(context: typer.Context, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Name the configuration; each command reads it."""
    context.obj = config


@app.command()
def enrol(
    context: typer.Context,
    code: Annotated[str, typer.Option("--code", help="The one-time code that the hub's administrator gave you.")],
) -> None:
    """Make this gateway known to the hub, once: exchanges a one-time code for its identity."""
    from gateway.bootstrap import open_journal
    from gateway.clock import utc_now
    from gateway.hub import HubBusy, HubRefused, HubUnreachable
    from gateway.identity import AlreadyEnrolled, CodeMalformed, IdentityKeyUnusable
    from gateway.identity import enrol as enrol_gateway
    from gateway.link import build_client

    settings = _load(context.obj)
    journal = open_journal(settings)
    client = build_client(settings, None)
    try:
        identity = enrol_gateway(journal, settings.spool_dir, client, code.strip(), clock=utc_now)
    except AlreadyEnrolled as exc:
        _fail(f"{exc}. Nothing was changed.")
    except HubRefused as exc:
        _fail(f"The hub refused the code: {exc.detail}. Ask its administrator for a new one.")
    except (HubUnreachable, HubBusy) as exc:
        _fail(f"{exc}. Check the address {settings.hub.url} and try again with the same code.")
    except (CodeMalformed, IdentityKeyUnusable) as exc:
        _fail(str(exc))
    finally:
        client.close()
    print(f"Enrolled for {identity.site_name} ({identity.site_id}) as {identity.gateway_id}.")


@app.command()
def serve(context: typer.Context) -> None:
    """Run the gateway until SIGTERM or Ctrl-C: receive, forward, bring reports home."""
    from gateway.bootstrap import serve as run_gateway
    from gateway.journal.database import JournalTooNew
    from gateway.log_output import configure_logs

    settings = _load(context.obj)
    configure_logs()
    try:
        run_gateway(settings)
    except JournalTooNew as exc:
        _fail(str(exc))
    except OSError as exc:
        _fail(f"The gateway cannot start: {exc.strerror or exc}. Run `check` to find out why.")


@app.command()
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Show where each study is, what is wrong, and what was refused."""
    from gateway.bootstrap import open_journal
    from gateway.status import read_status

    found = read_status(open_journal(_load(context.obj)))
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    _print_status(found)


@app.command()
def check(context: typer.Context) -> None:
    """Try everything the gateway depends on, and say what is wrong and how to mend it."""
    from gateway.bootstrap import open_journal
    from gateway.checks import run_checks

    settings = _load(context.obj)
    findings = []
    print(f"ok      configuration: {context.obj}")
    for finding in run_checks(settings, open_journal):
        findings.append(finding)
        _print_check(finding)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command()
def custody(context: typer.Context, study_uid: str) -> None:
    """Show what this gateway has recorded of one study, in order."""
    from gateway.bootstrap import open_journal
    from gateway.journal.custody import custody_of
    from storage.contract.identifiers import InvalidIdentifier, parse_uid

    try:
        uid = parse_uid(study_uid)
    except InvalidIdentifier as exc:
        _fail(str(exc))
    events = custody_of(open_journal(_load(context.obj)), uid)
    if not events:
        _fail("This gateway has no record of that study.")
    for event in events:
        detail = " ".join(f"{name}={value}" for name, value in event.detail.items())
        print(f"{event.seq:>6}  {event.at.astimezone():%Y-%m-%d %H:%M:%S}  {event.hop:<16} {detail}")


def main() -> None:
    """Run the command line."""
    app()


def _load(config: Path) -> GatewaySettings:
    from gateway.settings import load_settings
    from storage.configuration import ConfigurationError

    try:
        return load_settings(config)
    except ConfigurationError as exc:
        _fail("The configuration cannot be used:\n" + "\n".join(f"  - {problem}" for problem in exc.problems))


def _fail(words: str) -> NoReturn:
    print(words, file=sys.stderr)
    raise typer.Exit(1)


def _print_check(finding: Check) -> None:
    print(f"{'ok' if finding.ok else 'WRONG':<7} {finding.name}: {finding.detail}")
    if finding.remedy:
        print(f"        {finding.remedy}")


def _print_status(found: dict[str, Any]) -> None:
    from gateway.status import WHERE, problems_of

    site = found["site_id"] or "none: this gateway is not enrolled"
    print(f"Site: {site}")
    print(f"\nStudies ({len(found['studies'])}):")
    for study in found["studies"]:
        packs = f", packs {study['packs_uploaded']}/{study['packs']}" if study["packs"] else ""
        print(f"  {study['study_uid']}  {WHERE[study['state']]}, {study['instances']} images{packs}")
    print(f"\nReports ({len(found['documents'])}):")
    for document in found["documents"]:
        target = f" to {document['target']}" if document["target"] else ""
        print(f"  case {document['case_id']}  {document['kind']}: {document['state']}{target}")
    problems = problems_of(found)
    print(f"\nProblems ({len(problems)}):")
    for problem in problems:
        print(f"  {problem}")
    print(f"\nRefused ({len(found['refusals'])}):")
    for refusal in found["refusals"]:
        print(f"  {refusal['at']}  {refusal['calling_ae_title']}: {refusal['reason']}. {refusal['remedy']}")
