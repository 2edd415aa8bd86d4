"""Green channels in a simulation: their own limit from the start, which no agreement makes longer, and who is told."""

from __future__ import annotations

import pytest

from reading_queue.commands.simulation_report import report
from reading_queue.domain.clocks import agreed_due, first_limit_min
from reading_queue.simulation import Demand, DemandInvalid, Rules, parse_demand
from reading_queue.simulation.outcome import Outcome
from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel
from tests.unit.reading_queue.simulation.county import agreement, county, physician, run

NAMES = {"county": "清河县医院", "city": "市医院", "clinic-1": "一卫生院", "clinic-2": "二卫生院"}
STROKES = Demand(studies_per_site_per_day={"township": 40}, green_channels={GreenChannel.STROKE: 0.5})


def with_strokes(agreed_min: int) -> Outcome:
    tight = agreement("county", "county", 1)
    own = type(tight)(tight.facts, {"stat": agreed_min})
    return run(county(*(physician(f"p{number}") for number in range(4)), agreements=[own]), STROKES)


@pytest.mark.parametrize(("agreed_min", "of_stroke_min"), [(60, 30), (20, 20)])
def test_an_agreement_shortens_a_green_channels_limit_and_never_lengthens_it(agreed_min: int, of_stroke_min: int):
    outcome = with_strokes(agreed_min)
    stat = [case for case in outcome.cases if case.study.lane is Lane.STAT and case.claimed_s is not None]
    minutes = {(case.study.green_channel, round((case.due_s - case.study.exam_s) / 60)) for case in stat}
    assert minutes == {(GreenChannel.STROKE, of_stroke_min), (None, agreed_min)}


def test_the_limit_is_the_channels_before_anybody_is_asked():
    assert Rules().limit_min(Lane.STAT, GreenChannel.STROKE) == 30
    assert Rules().limit_min(Lane.STAT, None) == 120
    assert first_limit_min(20, 30) == 20
    assert agreed_due(5.0, 3.0, in_green_channel=False) == 5.0


def test_the_duty_director_is_told_of_every_green_channel_and_it_is_counted_apart():
    summary = with_strokes(60).summary()
    strokes = summary["green_channels"]["stroke"]["cases"]
    stat = summary["escalations"]["stat"]
    assert strokes > 2
    assert stat["director"] >= strokes
    assert stat["director"] <= strokes + stat["breached"] + stat["unroutable"]
    assert summary["escalations"]["routine"]["director"] == 0


def test_it_is_told_in_both_languages(capsys: pytest.CaptureFixture[str]):
    summary = with_strokes(60).summary() | {"names": NAMES}
    report(summary, "en")
    english = capsys.readouterr().out
    assert "Green channels, which are stat too" in english
    assert "stroke" in english
    assert "director told" in english
    report(summary, "zh")
    chinese = capsys.readouterr().out
    assert "绿色通道" in chinese
    assert "卒中" in chinese
    assert "已告值班主任" in chinese


def test_shares_beyond_everything_are_refused():
    with pytest.raises(DemandInvalid, match=r"simulation\.green_channels: .*more than 1"):
        parse_demand({"green_channels": {"stroke": 0.7, "trauma": 0.4}})
    with pytest.raises(DemandInvalid, match=r"green_channels.+colic"):
        parse_demand({"green_channels": {"colic": 0.1}})
