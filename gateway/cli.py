"""The command line of the gateway."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.importing import import_app
from gateway.commands.loading import fail, load_or_fail
from gateway.commands.operating import deliveries_app, line_app, quarantine_app, study_app
from gateway.commands.ordering import order_app
from storage.configuration import words_of_denied

if TYPE_CHECKING:  # each command loads only what it needs
    from gateway.checks import Check

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

app.add_typer(study_app, name="study")
app.add_typer(order_app, name="order")
app.add_typer(line_app, name="line")
app.add_typer(deliveries_app, name="deliveries")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(import_app, name="import")

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

    settings = load_or_fail(context.obj)
    journal = open_journal(settings)
    client = build_client(settings, None)
    try:
        identity = enrol_gateway(journal, settings.spool_dir, client, code.strip(), clock=utc_now)
    except AlreadyEnrolled as exc:
        fail(f"{exc}. Nothing was changed.")
    except HubRefused as exc:
        fail(f"The hub refused the code: {exc.detail}. Ask its administrator for a new one.")
    except (HubUnreachable, HubBusy) as exc:
        fail(f"{exc}. Check the address {settings.hub.url} and try again with the same code.")
    except (CodeMalformed, IdentityKeyUnusable) as exc:
        fail(str(exc))
    finally:
        client.close()
    print(f"Enrolled for {identity.site_name} ({identity.site_id}) as {identity.gateway_id}.")


@app.command()
def serve(context: typer.Context) -> None:
    """Run the gateway until SIGTERM or Ctrl-C: receive, forward, bring reports home."""
    from gateway.bootstrap import SpoolInUse
    from gateway.bootstrap import serve as run_gateway
    from gateway.journal.database import JournalTooNew
    from gateway.log_output import configure_logs
    from storage.open_files import allow_many_open_files

    settings = load_or_fail(context.obj)
    configure_logs()
    allow_many_open_files()
    try:
        run_gateway(settings)
    except JournalTooNew as exc:
        fail(str(exc))
    except SpoolInUse as exc:
        fail(f"The gateway cannot start: {exc}. Stop that one first, or give this one a spool_dir of its own.")
    except OSError as exc:
        fail(f"The gateway cannot start: {exc.strerror or exc}. Run `check` to find out why.")


@app.command()
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Show where each study is, what is wrong, and what was refused."""
    from gateway.bootstrap import open_journal
    from gateway.status import read_disk, read_reader, read_status

    settings = load_or_fail(context.obj)
    found = read_status(open_journal(settings))
    found |= {"disk": read_disk(settings), "reader": read_reader(settings)}
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    _print_status(found)


@app.command()
def check(context: typer.Context) -> None:
    """Try everything the gateway depends on, and say what is wrong and how to mend it."""
    from gateway.bootstrap import open_journal
    from gateway.checks import run_checks

    settings = load_or_fail(context.obj)
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
        fail(str(exc))
    events = custody_of(open_journal(load_or_fail(context.obj)), uid)
    if not events:
        fail("This gateway has no record of that study.")
    for event in events:
        detail = " ".join(f"{name}={value}" for name, value in event.detail.items())
        print(f"{event.seq:>6}  {event.at.astimezone():%Y-%m-%d %H:%M:%S}  {event.hop:<16} {detail}")


account_commands = typer.Typer(
    no_args_is_help=True,
    help=(
        "Accounts of the console that only this gateway knows, for the time before its enrolment. The hub's accounts"
        " come by themselves."
    ),
)
app.add_typer(account_commands, name="account")
LoginArgument = Annotated[str, typer.Argument(help="The name to log in with.", metavar="LOGIN")]


@account_commands.command("add")
def account_add(
    context: typer.Context,
    login: LoginArgument,
    name: Annotated[str, typer.Option("--name", help="The person's name, as screens and prints show it.")],
    role: Annotated[str, typer.Option("--role", help="technician or physician.")] = "technician",
) -> None:
    """Make a local account; asks for its password, or reads it from standard input."""
    from gateway.bootstrap import open_journal
    from gateway.clock import utc_now
    from gateway.console.accounts import ROLES, LocalAccountTaken, PasswordTooShort, make_local_account

    if role not in ROLES:
        fail(f"--role is one of {', '.join(ROLES)}.")
    if not login.strip() or not name.strip():
        fail("Login and name may not be empty.")
    journal = open_journal(load_or_fail(context.obj))
    try:
        make_local_account(journal, login.strip(), name.strip(), role, _ask_password(), utc_now())
    except LocalAccountTaken:
        fail(f"There is a local account {login} already. `account password` changes its password.")
    except PasswordTooShort:
        fail(PASSWORD_TOO_SHORT)
    print(f"Made the account {login}.")


@account_commands.command("password")
def account_password(context: typer.Context, login: LoginArgument) -> None:
    """Give a local account another password; whoever uses it is logged out."""
    from gateway.bootstrap import open_journal
    from gateway.clock import utc_now
    from gateway.console.accounts import PasswordTooShort, change_local_password

    journal = open_journal(load_or_fail(context.obj))
    try:
        if not change_local_password(journal, login, _ask_password(), utc_now()):
            fail(f"There is no local account {login}. The hub's accounts get their passwords at the hub.")
    except PasswordTooShort:
        fail(PASSWORD_TOO_SHORT)
    print(f"Changed the password of {login}.")


@account_commands.command("disable")
def account_disable(context: typer.Context, login: LoginArgument) -> None:
    """Let a local account in no more."""
    from gateway.bootstrap import open_journal
    from gateway.clock import utc_now
    from gateway.console.accounts import disable_local_account

    if not disable_local_account(open_journal(load_or_fail(context.obj)), login, utc_now()):
        fail(f"There is no local account {login}. The hub's accounts are disabled at the hub.")
    print(f"Disabled {login}.")


@account_commands.command("list")
def account_list(context: typer.Context) -> None:
    """Show who may log in to the console."""
    from gateway.bootstrap import open_journal
    from gateway.journal.accounts import list_accounts

    for account in list_accounts(open_journal(load_or_fail(context.obj))):
        state = f"disabled {account.disabled_at:%Y-%m-%d}" if account.disabled_at else "active"
        print(f"{account.login:<24} {account.role:<12} {account.origin:<6} {state:<20} {account.display_name}")


PASSWORD_TOO_SHORT = "The password is too short: give at least 8 characters."  # noqa: S105 -- words about one


def _ask_password() -> str:
    if sys.stdin.isatty():
        answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return answer
    return sys.stdin.readline().rstrip("\n")


def main() -> None:
    """Run the command line; that its folder is not this user's is said in words."""
    try:
        app()
    except OSError as exc:
        if (denied := words_of_denied(exc)) is None:
            raise
        print(f"{denied}: run this as the user who runs the gateway, or let spool_dir name a folder of your own")
        sys.exit(1)


def _print_check(finding: Check) -> None:
    print(f"{'ok' if finding.ok else 'WRONG':<7} {finding.name}: {finding.detail}")
    if finding.remedy:
        print(f"        {finding.remedy}")


def _print_status(found: dict[str, Any]) -> None:
    from gateway.status import WHERE, line_words, problems_of

    site = found["site_id"] or "none: this gateway is not enrolled"
    print(f"Site: {site}")
    print("Line: " + line_words(found["line"]))
    if found["reader"]["words"]:
        _print_claimed(found["reader"]["words"], found["reader_cases"])
    print(f"\nStudies ({len(found['studies'])}):")
    for study in found["studies"]:
        packs = f", packs {study['packs_uploaded']}/{study['packs']}" if study["packs"] else ""
        held = f", {study['held']}" if study["held"] else ""
        print(f"  {study['study_uid']}  {WHERE[study['state']]}, {study['instances']} images{packs}{held}")
    print(f"\nReports ({len(found['documents'])}):")
    for document in found["documents"]:
        target = f" to {document['target']}" if document["target"] else ""
        what = f"{document['kind']}: {document['state']}{target}"
        print(f"  case {document['case_id']}  {what}, document {document['document_id']}")
    problems = problems_of(found)
    print(f"\nProblems ({len(problems)}):")
    for problem in problems:
        print(f"  {problem}")
    print(f"\nRefused ({len(found['refusals'])}):")
    for refusal in found["refusals"]:
        print(f"  {refusal['at']}  {refusal['calling_ae_title']}: {refusal['reason']}. {refusal['remedy']}")


def _print_claimed(words: str, cases: list[dict[str, Any]]) -> None:
    from gateway.status import CLAIMED

    print(f"\nClaimed cases ({len(cases)}): {words}")
    for case in cases:
        left = f", {case['deliveries_due']} packs still due to the PACS" if case["deliveries_due"] else ""
        print(f"  case {case['case_id']}  {CLAIMED[case['state']]}, packs {case['packs_here']}/{case['packs']}{left}")
