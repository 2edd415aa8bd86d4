"""`counterpart-hub simulate`: a network and its roster tried out with synthetic studies, before anybody uses it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import date, datetime, time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reading_queue.domain.network_faults import Places
    from reading_queue.services.policy import Policy
    from reading_queue.simulation import Demand, Rules

DAYS_DEFAULT, DAYS_MAX = 7, 28
COUNTIES_MAX: Final = 400
ZONE: Final = "Asia/Shanghai"


class Language(StrEnum):
    """In which words the result is told."""

    ZH = "zh"
    EN = "en"


def simulate(  # noqa: PLR0913, PLR0917 -- the command's options
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="The network's file or folder, as `network import` takes it.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=DAYS_MAX, help="How many days.")] = DAYS_DEFAULT,
    from_: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="The first day; today without it.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same studies and the same result.")] = 1,
    against: Annotated[
        Path | None, typer.Option(help="Another network, given the same studies, to compare with.")
    ] = None,
    demand: Annotated[
        Path | None, typer.Option(help="The keys of `simulation:` in a file of their own (YAML).")
    ] = None,
    province: Annotated[
        int | None,
        typer.Option(min=1, max=COUNTIES_MAX, help="An invented province of so many counties, in place of a file."),
    ] = None,
    zone: Annotated[str, typer.Option(help="The time zone of the days and of the demand's hours.")] = ZONE,
    language: Annotated[Language, typer.Option(help="The language of the words.")] = Language.EN,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    everybody: Annotated[bool, typer.Option("--all", help="Every row of every table.")] = False,
) -> None:
    """Try a network and its roster with synthetic studies: time limits met, load and idle time of each physician.

    The hub's own rules decide. Nothing is read from or written to a database.
    """
    from reading_queue.commands.simulation_report import report, report_comparison

    if (file is None) == (province is None):
        raise typer.BadParameter("name one file, or --province with a number of counties")
    begin = datetime.combine(from_.date() if from_ else date.today(), time(), _zone(zone))  # noqa: DTZ011 -- the day here
    places: dict[str, Places] = {}
    if file is not None:
        document, places[str(file)] = _read_network(file, language)
    else:
        from reading_queue.simulation import province as make_province

        document = make_province(begin, days, province or 1)
    its_path: tuple[str, ...] = ("simulation",)
    own, its_places = document.get("simulation"), places.get(str(file), {})
    if demand is not None:
        (own, its_places), its_path = _read_network(demand, language), ()
    documents = {str(file or f"--province {province}"): document}
    if against is not None:
        documents[str(against)], places[str(against)] = _read_network(against, language)
        if not own:
            own, its_places = documents[str(against)].get("simulation"), places[str(against)]
    with _faults_told(language):
        model = _demand(own or {}, its_path, its_places)
    policy = context.obj.settings.policy
    results = {
        name: run(one, model, policy, begin, days, seed, language, places.get(name)) for name, one in documents.items()
    }
    if as_json:
        typer.echo(json.dumps(results, ensure_ascii=False))
    elif against is not None:
        report_comparison(results, language.value)
    else:
        report(next(iter(results.values())), language.value, everything=everybody)


def run(
    document: Mapping[str, Any],
    demand: Demand,
    policy: Policy,
    begin: datetime,
    days: int,
    seed: int,
    language: Language,
    places: Places | None = None,
) -> dict[str, Any]:
    """Return the summary of one run, with the names of organisations. Raises Invalid, and Exit once faults are told."""
    from reading_queue.commands.simulated_network import network_of
    from reading_queue.simulation import simulate as simulate_network

    with _faults_told(language):
        network = network_of(document, begin, days, places)
    outcome = simulate_network(network, demand, _rules(policy), begin, days, seed)
    english = language == Language.EN
    names = {
        one.organisation_id: one.name_en if english and one.name_en else one.name for one in network.hospitals.values()
    }
    return outcome.summary() | {"seed": seed, "names": names}


def _read_network(file: Path, language: Language) -> tuple[dict[str, Any], Places]:
    from reading_queue.commands.networking import read_network
    from reading_queue.services.network.network_document import NetworkInvalid

    with _faults_told(language):
        document, places, faults = read_network(file)
        if faults:
            raise NetworkInvalid(faults, places)
    return document, places


@contextmanager
def _faults_told(language: Language) -> Iterator[None]:
    """Tell every fault of a network's file with file, line and field, then end."""
    from reading_queue.services.network.network_document import NetworkInvalid

    try:
        yield
    except NetworkInvalid as exc:
        for words in exc.told(language):
            typer.echo(words, err=True)
        raise typer.Exit(1) from exc


def _demand(keys: Mapping[str, Any], path: tuple[str, ...], places: Places) -> Demand:
    """Return the demand model; `path` and `places` say where its keys stand. Raises NetworkInvalid."""
    from reading_queue.domain.network_faults import Fault
    from reading_queue.services.network.network_document import NetworkInvalid
    from reading_queue.simulation import DemandInvalid, parse_demand

    try:
        return parse_demand(keys)
    except DemandInvalid as exc:
        faults = [Fault("demand", (*path, *steps), {"words": words}) for steps, words in exc.mistakes]
        raise NetworkInvalid(faults, places) from exc


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise typer.BadParameter(f"no time zone is called {name}; write for instance {ZONE}") from None


def _rules(policy: Policy) -> Rules:
    from reading_queue.simulation import Rules

    return Rules(
        policy.offer_width,
        policy.offer_ttl_s,
        time_limit_default_min=policy.time_limit_default_min,
        green_channel_limit_min=policy.green_channel_limit_min,
        consult_limit_min=policy.consult_limit_min,
        lease_s=policy.lease_s,
        hold_max_s=policy.hold_max_s,
        workload_points=policy.workload_points,
    )
