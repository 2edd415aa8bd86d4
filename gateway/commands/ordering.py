"""The commands for orders (申请单), for scripts and for a clinic without a browser at hand.

Patients are named in a file or on standard input, never in arguments, which other users and the shell's history see.
"""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from gateway.commands.loading import fail, load_or_fail

if TYPE_CHECKING:  # each command loads only what it needs
    from storage.contract.orders import Order

order_app = typer.Typer(help="Enter, list and cancel orders; they work with the line down.", no_args_is_help=True)

INPUT_BYTES_MAX = 64 * 1024
LISTED_MAX = 500
# What this gateway and the scanners say of an order, and nobody types.
NOT_TYPED = {
    "format",
    "order_id",
    "version",
    "site_id",
    "study_uid",
    "origin",
    "entered_by",
    "entered_at",
    "changed_at",
} | {
    "state",
    "state_reason",
    "exam_started_at",
    "exam_ended_at",
    "expected_instances",
}


@order_app.command("add")
def add(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(help="A file with one JSON object of an order's fields, or - for standard input.")
    ] = Path("-"),
) -> None:
    """Enter an order and print its accession number.

    Needed are patient_number, patient_name, modality and procedure_name; `order fields` lists the others. For example:
    {"patient_number": "P0001", "patient_name": "王小东", "modality": "CT", "procedure_name": "胸部平扫"}
    """
    from pydantic import ValidationError

    from gateway.bootstrap import open_journal
    from gateway.clock import utc_now
    from gateway.journal.actions import COMMAND_LINE
    from gateway.journal.orders import AccessionTaken
    from gateway.orders import AccessionReserved, NotEnrolled, enter_order
    from storage.contract.orders import OrderOrigin, explain_faults, find_gaps

    fields = _read_fields(source)
    journal = open_journal(load_or_fail(context.obj))
    try:
        order = enter_order(journal, fields, entered_by=COMMAND_LINE, origin=OrderOrigin.COMMAND_LINE, now=utc_now())
    except ValidationError as exc:
        fail("\n".join(f"{fault.field or 'order'}: {fault.words}" for fault in explain_faults(exc)))
    except AccessionTaken:
        fail("accession_number: another order has this accession number")
    except AccessionReserved:
        fail("accession_number: numbers of this form are given by the gateways of this site; leave it out to get one")
    except NotEnrolled:
        fail("This gateway is not enrolled yet; run `enrol` first.")
    print(order.accession_number)
    gaps = find_gaps(order)
    if gaps:
        print(f"A reader will miss: {', '.join(gaps)}.", file=sys.stderr)


@order_app.command("fields")
def fields_of_order() -> None:
    """List the fields that an order may have, each with what may stand in it."""
    from storage.contract.orders import Order

    properties = Order.model_json_schema()["properties"]
    kinds = Order.model_json_schema().get("$defs", {})
    for name, schema in properties.items():
        if name not in NOT_TYPED:
            print(f"{name:<22}  {_describe(schema, kinds)}")


@order_app.command("list")
def list_of_day(
    context: typer.Context,
    day: Annotated[str, typer.Option("--day", help="A day such as 2026-11-26; without it: today.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object in each line.")] = False,
) -> None:
    """Show the orders that are scheduled for a day, in the clinic's time."""
    from gateway.bootstrap import open_journal
    from gateway.clock import utc_now
    from gateway.journal.orders import list_orders

    settings = load_or_fail(context.obj)
    zone = ZoneInfo(settings.console.time_zone)
    begins = datetime.combine(_parse_day(day) or utc_now().astimezone(zone).date(), time(), zone)
    rows = list_orders(open_journal(settings), since=begins, until=begins + timedelta(days=1), limit=LISTED_MAX)
    for row in rows:
        if as_json:
            print(row.order.model_dump_json())
        else:
            print(_line_of(row.order, zone))
        if row.problem and not as_json:
            print(f"    The hub does not take it: {row.problem}")
    if len(rows) == LISTED_MAX:
        print(f"Only the first {LISTED_MAX} are shown.", file=sys.stderr)


@order_app.command("cancel")
def cancel(
    context: typer.Context,
    accession_number: str,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who look for the order later.")],
) -> None:
    """Cancel an order whose examination was not done; it leaves the scanners' worklist."""
    from pydantic import ValidationError

    from gateway.bootstrap import open_journal
    from gateway.clock import utc_now
    from gateway.journal.actions import COMMAND_LINE
    from gateway.journal.orders import StaleOrder, find_by_accession
    from gateway.orders import OrderNotOpen, cancel_order
    from storage.contract.orders import explain_faults

    journal = open_journal(load_or_fail(context.obj))
    row = find_by_accession(journal, accession_number)
    if row is None:
        fail("This gateway knows no order with that accession number.")
    try:
        cancel_order(journal, row.order.order_id, row.order.version, reason, cancelled_by=COMMAND_LINE, now=utc_now())
    except OrderNotOpen:
        fail("The examination is over, or the order was cancelled before.")
    except StaleOrder:
        fail("The order was changed at this moment; look at it and try again.")
    except ValidationError as exc:
        fail("\n".join(f"{fault.field or 'order'}: {fault.words}" for fault in explain_faults(exc)))
    print("Cancelled.")


def _read_fields(source: Path) -> dict[str, Any]:
    """Return the fields; what was typed is never repeated in what is said about it."""
    from storage.contract.orders import Order

    try:
        if str(source) == "-":
            data = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
        else:
            with source.open("rb") as file:
                data = file.read(INPUT_BYTES_MAX + 1)
    except OSError as exc:
        fail(f"{source} cannot be read: {exc.strerror}.")
    if len(data) > INPUT_BYTES_MAX:
        fail(f"An order has at most {INPUT_BYTES_MAX} bytes.")
    try:
        fields = json.loads(data)
    except ValueError:
        fail("The order is no JSON.")
    if not isinstance(fields, dict):
        fail("The order is no JSON object.")
    if given := sorted(NOT_TYPED & fields.keys()):
        fail(f"These fields are not for typing: {', '.join(given)}.")
    if unknown := len(fields.keys() - Order.model_fields.keys()):
        fail(f"Fields that an order does not have: {unknown}. `order fields` lists those it may have.")
    return fields


def _describe(schema: dict[str, Any], kinds: dict[str, Any]) -> str:
    """Return in words what a JSON Schema of one field lets through."""
    forms = [form for form in schema.get("anyOf", [schema]) if form.get("type") != "null"]
    form = forms[0]
    if "$ref" in form:
        form = kinds[form["$ref"].rpartition("/")[2]]
    if choices := form.get("enum"):
        return "one of: " + ", ".join(str(choice) or '""' for choice in choices)
    told = {"date": "a day: 1960-02-03", "date-time": "a time: 2026-11-26T09:30:00+08:00"}
    by_type = {"boolean": "true or false", "integer": f"a number from {form.get('minimum')} to {form.get('maximum')}"}
    limit = f", at most {form['maxLength']} characters" if "maxLength" in form else ""
    return told.get(form.get("format", "")) or by_type.get(form.get("type", "")) or f"text{limit}"


def _parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        fail("A day looks like 2026-11-26.")


def _line_of(order: Order, zone: ZoneInfo) -> str:
    begins = order.scheduled_at.astimezone(zone)
    return (
        f"{begins:%H:%M}  {order.accession_number:<16}  {order.state:<12}  {order.lane:<8}  {order.modality:<4}"
        f"  {order.procedure_name}  {order.patient_number}  {order.person_name()}"
    )
