"""`counterpart-hub links`: patient records of two sites that are one person, may be, or are not, and who says so.

Listing and deciding is done by somebody: `--as LOGIN`, with the password asked for, or read as a line from a pipe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reading_queue.commands.acting import AsOption, acting_person
from reading_queue.domain.links import LinkAct, LinkState

if TYPE_CHECKING:
    from reading_queue.services.patients.link_desk import LinkView

links_app = typer.Typer(help="Patients who came to two sites: suggested, linked, refused.", no_args_is_help=True)

LinkArgument = Annotated[str, typer.Argument(help="The link's id, as `list` shows it.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why.")]


@links_app.command("list")
def list_links(
    context: typer.Context,
    login: AsOption,
    state: Annotated[LinkState, typer.Option("--state", help="Which of them.")] = LinkState.SUGGESTED,
    after: Annotated[str, typer.Option("--after", help="Behind which the page begins, as the page before says.")] = "",
) -> None:
    """Show links with both sides' facts; national IDs are compared and never shown. The look is in the audit trail."""
    from reading_queue.domain.page_places import Place
    from reading_queue.services.patients import link_desk

    hub, viewer = acting_person(context, login)
    try:
        place = Place.of_text(after) if after else None
    except ValueError as exc:
        raise typer.BadParameter("this leads to no page; leave it out for the first one") from exc
    shown = link_desk.list_links(hub, viewer, state, place)
    for link in shown.links:
        for line in _lines(link):
            typer.echo(line)
    typer.echo(", ".join(f"{name} {count}" for name, count in shown.counts.items()))
    if shown.next_after is not None:
        typer.echo(f"more with --after {shown.next_after.text()}")


@links_app.command()
def accept(context: typer.Context, link_id: LinkArgument, reason: ReasonOption, login: AsOption) -> None:
    """Link two records of one person: readers see the other site's studies beside a case they have at hand."""
    _decide(context, login, link_id, LinkAct.ACCEPT, reason)


@links_app.command()
def refuse(context: typer.Context, link_id: LinkArgument, reason: ReasonOption, login: AsOption) -> None:
    """Keep two persons apart: nobody is asked again. A link that stands ends."""
    _decide(context, login, link_id, LinkAct.REFUSE, reason)


@links_app.command()
def undo(context: typer.Context, link_id: LinkArgument, reason: ReasonOption, login: AsOption) -> None:
    """Take a link or a refusal back: the two records wait for a person's decision again."""
    _decide(context, login, link_id, LinkAct.UNDO, reason)


@links_app.command()
def recompute(context: typer.Context) -> None:
    """Look at all records anew, in the background: after the key file was replaced, whose key the matching uses."""
    from reading_queue.bootstrap import build_hub
    from reading_queue.services.patients.identity_keys import forget_keys

    hub = build_hub(context.obj.settings)
    with hub.transaction() as session:
        count = forget_keys(session, hub.clock())
    typer.echo(f"{count} patient records will be looked at anew; what persons decided stays")


def _decide(context: typer.Context, login: str, link_id: str, act: LinkAct, reason: str) -> None:
    from reading_queue.services.patients import link_desk

    hub, viewer = acting_person(context, login)
    typer.echo(link_desk.decide(hub, viewer, link_id, act, reason))


def _lines(link: LinkView) -> list[str]:
    odd = [f"{trait} {likeness}" for trait, likeness in sorted(link.traits.items()) if likeness != "agrees"]
    lines = [f"{link.link_id}  {', '.join((*odd, *link.doubts)) or 'all agrees'}"]
    for side in link.sides:
        facts = (side.site_id, side.patient_number or "-", side.name, str(side.birth_date or "-"), side.sex or "-")
        lines.append(f"    {'  '.join(facts)}  studies {side.study_count}")
    lines += [f"    {past.act} by {past.by} at {past.at:%Y-%m-%d %H:%M}Z: {past.reason}" for past in link.decisions]
    return lines
