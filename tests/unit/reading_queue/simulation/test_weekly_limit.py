"""A physician's weekly limit counts in a simulation of a week, and not in a longer one that adds up all its work."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import yaml

from reading_queue.commands.simulated_network import network_of

EXAMPLE = Path(__file__).parents[4] / "deploy" / "hub" / "network.example.yaml"
BEGIN = datetime(2026, 3, 2, tzinfo=UTC)


def test_a_weekly_limit_counts_in_a_week_alone() -> None:
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    limits = {
        days: {one.facts.weekly_points_max for one in network_of(document, BEGIN, days).physicians} for days in (7, 8)
    }
    assert 25_000 in limits[7]
    assert limits[8] == {None}
