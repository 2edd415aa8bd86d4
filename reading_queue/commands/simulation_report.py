"""What a simulation gave, as sentences and tables in Chinese or English."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from reading_queue.commands.simulation_words import CHANNELS, LANES, WORDS
from reading_queue.domain.roles import Title
from reading_queue.domain.routing import REASONS, Reason

ROWS_MAX: Final = 15  # of a table, unless everything is asked for
NARROWEST: Final = 130  # columns, where the output is no terminal

Summary = Mapping[str, Any]


def report(summary: Summary, language: str, *, everything: bool = False) -> None:
    """Print the whole result."""
    console, say = _console(), WORDS[language]
    for sentence in sentences(summary, language):
        console.print(sentence, highlight=False)
    console.print(_served(say["by_lane"], summary["lanes"], LANES[language], say))
    if summary["green_channels"]:
        console.print(_served(say["by_channel"], summary["green_channels"], CHANNELS[language], say))
    console.print(_escalations(summary, language))
    _print_long(console, _worst_first(summary["counties"]), everything, say, summary["names"], say["by_county"])
    _print_long(console, _longest_first(summary["by_site"]), everything, say, summary["names"], say["by_site"])
    _print_long(console, _worst_first(summary["agreements"]), everything, say, {}, say["by_agreement"])
    for table in (
        _gaps(summary, say, everything),
        _organisations(summary, say, everything),
        _people(summary, language, everything),
    ):
        if table.row_count:
            console.print(table)


def report_comparison(results: Mapping[str, Summary], language: str) -> None:
    """Print two results side by side, figure by figure."""
    say = WORDS[language]
    table = _table(say["comparison"], [say["figure"], *results])
    for name, figures in _figures(list(results.values()), language):
        table.add_row(name, *figures)
    _console().print(table)


def sentences(summary: Summary, language: str) -> list[str]:
    """Return in words what matters most: the whole, and what is wrong with the roster."""
    say, whole = WORDS[language], summary["all"]
    words = [
        say["whole"].format(
            days=summary["days"],
            day="day" if summary["days"] == 1 else "days",
            sites=summary["sites"],
            physicians=summary["physicians"],
            cases=whole["cases"],
            share=_share(whole["share_met"]),
            late=whole["late"],
            open=whole["open"],
        )
    ]
    if summary["late_because"]:
        why = (f"{count} × {say[part]}" for part, count in summary["late_because"].items())
        words.append(say["late_because"].format(reasons="; ".join(why)))
    words += _of_gaps(summary, say)
    unroutable = summary["unroutable"]
    if unroutable["waits"]:
        words.append(say["unroutable"].format(**unroutable))
        for phase, exclusions in unroutable["exclusions"].items():
            told = (f"{count} × {REASONS[language][Reason(reason)]}" for reason, count in exclusions.items())
            words.append(say["exclusions"].format(phase=say[phase], reasons="; ".join(told)))
    if unroutable["without_agreement"]:
        words.append(say["without_agreement"].format(count=unroutable["without_agreement"]))
    questions = summary["site_questions"]
    if questions["asked"]:
        words.append(say["site_questions"].format(**questions, waits=_times(questions["wait_min"])))
    consults = summary["consults"]
    if consults["asked"]:
        words.append(say["consults"].format(**consults, waits=_times(consults["wait_min"])))
    if consults["without_hospital"]:
        words.append(say["without_hospital"].format(count=consults["without_hospital"]))
    words += _of_people(summary, say)
    words.append(say["times_told"])
    return words


def _of_gaps(summary: Summary, say: Mapping[str, str]) -> Iterable[str]:
    names = summary["names"]
    for gap in summary["gaps"][:ROWS_MAX]:
        yield say[f"gap_{gap['phase']}"].format(**gap | {"name": names.get(gap["county"], gap["county"])})
    if len(summary["gaps"]) > ROWS_MAX:
        yield say["more_gaps"].format(count=len(summary["gaps"]) - ROWS_MAX)


def _of_people(summary: Summary, say: Mapping[str, str]) -> Iterable[str]:
    if summary["signed_alone"]:
        yield say["signed_alone"].format(count=summary["signed_alone"])
    done = ("interpreted", "verified", "consulted", "declined", "given_back", "lapsed")
    if idle := [one for one in summary["people"] if one["duty_h"] and not any(one[key] for key in done)]:
        names = say["between_names"].join(f"{one['name']} {one['physician']}" for one in idle[:ROWS_MAX])
        more = say["and_others"].format(count=len(idle)) if len(idle) > ROWS_MAX else ""
        yield say["idle"].format(names=names + more)
    if summary["always_on_duty"]:
        yield say["always"].format(count=summary["always_on_duty"])


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=max(NARROWEST, console.width))


def _table(title: str, columns: Sequence[str], words: int = 1) -> Table:
    """Return an empty table, whose first `words` columns are words and the others figures."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < words else "right", overflow="fold")
    return table


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _times(percentiles: Mapping[str, float] | None) -> str:
    return "–" if percentiles is None else " / ".join(f"{value:.0f}" for value in percentiles.values())


def _served(title: str, groups: Mapping[str, Summary], names: Mapping[str, str], say: Mapping[str, str]) -> Table:
    columns = ("", "cases", "met", "late", "open", "to_claim", "to_signature")
    table = _table(title, [say.get(column, "") for column in columns])
    for name, served in groups.items():
        waits = (_times(served["to_claim_min"]), _times(served["to_signature_min"]))
        counts = (str(served["late"]), str(served["open"]))
        table.add_row(names.get(name, name), str(served["cases"]), _share(served["share_met"]), *counts, *waits)
    return table


def _worst_first(groups: Mapping[str, Summary]) -> dict[str, Summary]:
    return dict(sorted(groups.items(), key=lambda one: (one[1]["share_met"] or 0, -one[1]["cases"])))


def _longest_first(groups: Mapping[str, Summary]) -> dict[str, Summary]:
    """Return first who has waited longest: nine of ten of whose reports took until then, if any is signed."""
    return dict(sorted(groups.items(), key=lambda one: -(one[1]["to_signature_min"] or {"p90": float("inf")})["p90"]))


def _print_long(
    console: Console,
    groups: Mapping[str, Summary],
    everything: bool,
    say: Mapping[str, str],
    names: Mapping[str, str],
    title: str,
) -> None:
    shown = dict(_cut(list(groups.items()), everything))
    console.print(_served(title + _of(len(shown), len(groups), say), shown, {**names, "-": say["nobody"]}, say))


def _cut(rows: list[Any], everything: bool) -> list[Any]:
    return rows if everything else rows[:ROWS_MAX]


def _of(shown: int, whole: int, say: Mapping[str, str]) -> str:
    return "" if shown == whole else say["first_of"].format(shown=shown, whole=whole)


def _escalations(summary: Summary, language: str) -> Table:
    say, lanes = WORDS[language], summary["escalations"]
    stages = sorted({key for counts in lanes.values() for key in counts if key.isdigit()}, key=int)
    steps = ("widened", "two_thirds", "breached", "unroutable", "director")
    columns = [
        "",
        *(say["stage"].format(stage=stage) for stage in stages),
        *(say.get(f"{step}_short", say[step]) for step in steps),
    ]
    table = _table(say["escalations"], columns)
    for lane, counts in lanes.items():
        table.add_row(LANES[language][lane], *(str(counts.get(key, 0)) for key in (*stages, *steps)))
    return table


def _gaps(summary: Summary, say: Mapping[str, str], everything: bool) -> Table:
    columns = ("county", "phase", "hours_open", "times", "hours", "cases", "waited", "late")
    shown = _cut(summary["gaps"], everything)
    table = _table(
        say["gaps"] + _of(len(shown), len(summary["gaps"]), say), [say[column] for column in columns], words=3
    )
    for gap in shown:
        name = summary["names"].get(gap["county"], gap["county"])
        figures = (gap["times"], gap["hours"], gap["cases"], gap["waited_h"], gap["late"])
        table.add_row(name, say[gap["phase"]], f"{gap['from']}–{gap['until']}", *map(str, figures))
    return table


WORK: Final = ("interpreted", "verified", "consulted", "rvu", "duty_h", "busy_h", "idle_h", "given_back", "lapsed")
SELDOM: Final = frozenset({"consulted", "given_back", "lapsed"})  # left out where all of it is nothing


def _columns_of(works: Iterable[Summary]) -> list[str]:
    told = list(works)
    return [key for key in WORK if key not in SELDOM or any(one[key] for one in told)]


def _organisations(summary: Summary, say: Mapping[str, str], everything: bool) -> Table:
    work_told = _columns_of(summary["organisations"].values())
    columns = ("", "physicians", *work_told, "utilisation")
    rows = sorted(summary["organisations"].items(), key=lambda one: -(one[1]["utilisation"] or 0))
    shown = _cut(rows, everything)
    title = say["by_organisation"] + _of(len(shown), len(rows), say)
    table = _table(title, [say.get(column, "") for column in columns])
    for organisation, work in shown:
        name = summary["names"].get(organisation, organisation)
        table.add_row(
            name, str(work["physicians"]), *(str(work[key]) for key in work_told), _share(work["utilisation"])
        )
    return table


def _people(summary: Summary, language: str, everything: bool) -> Table:
    say = WORDS[language]
    rows = sorted(summary["people"], key=lambda one: -(one["utilisation"] or 0))
    shown = _cut(rows, everything)
    work_told = _columns_of(summary["people"])
    columns = ("physician", "title", "organisation", *work_told, "utilisation")
    title = say["by_physician"] + _of(len(shown), len(rows), say)
    table = _table(title, [say[column] for column in columns], words=3)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for one in shown:
        rank = Title(one["title"])
        told = (rank.zh if language == "zh" else rank.value.replace("_", " "), summary["names"][one["organisation"]])
        work = (str(one[key]) for key in work_told)
        table.add_row(f"{one['name']} {one['physician']}", *told, *work, _share(one["utilisation"]))
    return table


def _figures(results: Sequence[Summary], language: str) -> Iterable[tuple[str, list[str]]]:
    say = WORDS[language]
    yield say["physicians"], [str(one["physicians"]) for one in results]
    yield say["cases"], [str(one["all"]["cases"]) for one in results]
    for lane, name in LANES[language].items():
        served = [one["lanes"].get(lane) for one in results]
        yield f"{name}: {say['met']}", [_share(one["share_met"]) if one else "–" for one in served]
        yield f"{name}: {say['to_signature']}", [_times(one["to_signature_min"]) if one else "–" for one in served]
    yield say["late"], [str(one["all"]["late"]) for one in results]
    yield say["open"], [str(one["all"]["open"]) for one in results]
    yield say["unroutable_cases"], [str(one["unroutable"]["cases"]) for one in results]
    yield say["gap_hours"], [f"{sum(gap['hours'] for gap in one['gaps']):.1f}" for one in results]
    for key in ("duty_h", "busy_h", "idle_h"):
        yield say[key], [f"{sum(person[key] for person in one['people']):.1f}" for one in results]
    yield say["busiest"], [_share(max((p["utilisation"] or 0 for p in one["people"]), default=None)) for one in results]
