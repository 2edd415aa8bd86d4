"""Where each sent study is: read from the hub's custody ledger, shown live, written for machines."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from hub_api import HubApi, Refused, Unreachable
from rich.console import Console
from rich.live import Live
from rich.table import Table
from studies import DemoStudy

# The road, in order, as the ledger names its hops.
ROAD = (
    "received", "completed", "declared", "uploaded", "committed", "verified", "catalogued", "confirmed", "offered",
    "claimed", "submitted", "review_offered", "review_claimed", "signed", "rendered", "fetched", "delivered",
    "acknowledged",
)  # fmt: skip
HOME = ROAD[-1]
WIDTH_MIN = 130  # of the timeline, in characters


@dataclass(slots=True)
class Journey:
    """One study's road so far."""

    study: DemoStudy
    closed_at: datetime | None = None  # the end of the scanner's association
    hops: dict[str, datetime] = field(default_factory=dict)  # the first time of each hop

    @property
    def is_home(self) -> bool:
        """Return whether the clinic has the report and the hub knows it."""
        return HOME in self.hops

    @property
    def last_hop(self) -> str:
        """Return the furthest hop reached, `not received` before the first."""
        return max(self.hops, key=ROAD.index, default="not received")

    def update(self, hub: HubApi) -> list[str]:
        """Read the ledger; return the hops that are new."""
        try:
            lines = hub.call("GET", f"/studies/{self.study.study_uid}/custody?site_id={self.study.site}")["custody"]
        except (Refused, Unreachable):
            return []
        new = []
        for line in lines:
            if line["hop"] in ROAD and line["hop"] not in self.hops:
                self.hops[line["hop"]] = datetime.fromisoformat(line["at"])
                new.append(line["hop"])
        return new

    def as_json(self) -> dict[str, object]:
        """Return the study's part of the timeline file."""
        ordered = sorted(self.hops.items(), key=lambda hop: (hop[1], ROAD.index(hop[0])))
        return {
            "study_uid": self.study.study_uid,
            "site": self.study.site,
            "modality": self.study.modality,
            "home": self.is_home,
            "hops": [{"name": name, "at": at.isoformat()} for name, at in ordered],
        }


def write_timeline(journeys: Iterable[Journey], path: Path) -> None:
    """Write the timeline for machines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"studies": [journey.as_json() for journey in journeys]}, ensure_ascii=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def offer_delays_s(journeys: Iterable[Journey]) -> list[float]:
    """Return, for each offered study, the seconds from the end of its association to the offer, sorted."""
    return sorted(
        (journey.hops["offered"] - journey.closed_at).total_seconds()
        for journey in journeys
        if journey.closed_at is not None and "offered" in journey.hops
    )


def percentile(values: list[float], share: float) -> float:
    """Return the nearest-rank percentile of sorted values."""
    return values[max(0, math.ceil(share * len(values)) - 1)]


class Screen:
    """The live table on a terminal; one line for each new hop elsewhere."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        self._live: Live | None = None

    def say(self, text: str) -> None:
        """Print one line above the table."""
        self.console.print(text)

    def show(self, journeys: list[Journey], news: list[tuple[Journey, str]], elapsed_s: float) -> None:
        """Show where every study is now."""
        if not self.console.is_terminal:
            for journey, hop in news:
                self.say(f"{elapsed_s:6.1f} s  {journey.study.site}  {journey.study.what:34}  {hop}")
            return
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        self._live.update(self._table(journeys, elapsed_s), refresh=True)

    def close(self) -> None:
        """Leave the last table standing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    @staticmethod
    def _table(journeys: list[Journey], elapsed_s: float) -> Table:
        home = sum(journey.is_home for journey in journeys)
        table = Table(title=f"{home} of {len(journeys)} reports home · {elapsed_s:.0f} s", title_justify="left")
        for heading in ("site", "study", "road", "now"):
            table.add_column(heading, no_wrap=True)
        for journey in journeys:
            done = ROAD.index(journey.last_hop) + 1 if journey.hops else 0
            bar = "█" * done + "·" * (len(ROAD) - done)
            now = "[green]report home[/green]" if journey.is_home else journey.last_hop.replace("_", " ")
            table.add_row(journey.study.site, journey.study.what, bar, now)
        return table

    def timeline(self, journeys: list[Journey]) -> None:
        """Print the seconds after the end of the association at which each study reached each hop."""
        table = Table(title="Seconds after the end of the association", title_justify="left")
        table.add_column("hop", no_wrap=True)
        for number, journey in enumerate(journeys, 1):
            self.say(f"  {number:2}  {journey.study.site}  {journey.study.what}")
            table.add_column(str(number), justify="right", no_wrap=True)
        for hop in ROAD[1:]:
            cells = []
            for journey in journeys:
                start = journey.closed_at or journey.hops.get("received")
                reached = start is not None and hop in journey.hops
                cells.append(f"{(journey.hops[hop] - start).total_seconds():.1f}" if start and reached else "–")
            table.add_row(hop.replace("_", " "), *cells)
        wide = Console(highlight=False, width=max(WIDTH_MIN, self.console.width))
        (self.console if self.console.width >= WIDTH_MIN else wide).print(table)
