"""What benchmarks compute and report, without measuring anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import harness
from tests.benchmarks.__main__ import Runner, load_benchmarks
from tests.benchmarks.harness import (
    Bench,
    Benchmark,
    Goal,
    Report,
    Row,
    benchmark,
    median_ratio,
    not_measured,
    rotations,
    select,
    table,
)
from tests.benchmarks.memory import parse_pss_mb, pss_mb
from tests.benchmarks.sender import announced_pdu_bytes, item

FAST = Goal("speed.fast", "x", at_least=2)
SMALL = Goal("memory.small", "MB", at_most=300)


def measure(bench: Bench) -> None:
    bench.record("speed.fast", 2.5, {"why": "test"})
    bench.record("memory.small", 301, {})


def test_goal_is_met_on_its_own_side_of_the_bound() -> None:
    assert [FAST.is_met_by(value) for value in (1.9, 2, 2.1)] == [False, True, True]
    assert [SMALL.is_met_by(value) for value in (299, 300, 301)] == [True, True, False]
    assert (FAST.words, SMALL.words) == (">= 2", "<= 300")
    with pytest.raises(ValueError, match="exactly one"):
        Goal("both", "x", at_least=1, at_most=2)


def test_ratio_is_the_median_of_the_repeats_own_ratios() -> None:
    assert median_ratio([10, 30, 20], [10, 10, 10]) == 2
    assert median_ratio([10, 90], [10, 30]) == 2


def test_every_contender_begins_a_repeat() -> None:
    assert list(rotations(["a", "b", "c"], 4)) == [["a", "b", "c"], ["b", "a", "c"], ["c", "a", "b"], ["a", "c", "b"]]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ("", {"queue.lost", "queue.doubled", "queue.double.claims"}),
        ("queue", {"queue.lost", "queue.doubled", "queue.double.claims"}),
        ("queue.double", {"queue.double.claims"}),
        ("queue.double.", {"queue.double.claims"}),
        ("queue.double*", {"queue.doubled", "queue.double.claims"}),
        ("queue.lost, queue.doubled", {"queue.lost", "queue.doubled"}),
    ],
)
def test_ids_are_named_whole_or_by_their_beginning(wanted: str, ids: set[str]) -> None:
    faults = Benchmark(measure, (Goal("queue.lost", "", at_most=0), Goal("queue.doubled", "", at_most=0)))
    claims = Benchmark(measure, (Goal("queue.double.claims", "", at_most=0),))
    chosen = select([faults, claims], wanted)
    assert chosen == [(one, theirs) for one in (faults, claims) if (theirs := ids & {goal.id for goal in one.goals})]


def test_name_that_no_id_has_is_refused_by_its_words() -> None:
    known = Benchmark(measure, (FAST, SMALL))
    with pytest.raises(ValueError, match=r"'spee' or 'memory\.small\.x'"):
        select([known], "speed,spee,memory.small.x")


def test_id_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "REGISTERED", [])
    with pytest.raises(ValueError, match="registered twice"):
        benchmark(Goal("ingest.orthanc.1", "x", at_least=1), Goal("x", "x", at_least=1))(
            benchmark(Goal("ingest.orthanc.1", "x", at_least=1))(measure)
        )


def test_every_benchmark_file_registers_itself() -> None:
    load_benchmarks()
    ids = {goal.id for known in harness.REGISTERED for goal in known.goals}
    assert ids >= {"ingest.orthanc.1", "ingest.orthanc.8", "ingest.storescp.1", "ingest.storescp.8"}


def test_run_replaces_only_its_rows(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    Report(report).put(Row("speed.fast", 1.0, "x", ">= 2", met=False, detail={}))
    Report(report).put(Row("other.kept", 3.0, "s", "<= 4", met=True, detail={"a": 1}))
    rows = Runner(Report(report), limit_s=60).run([(Benchmark(measure, (FAST, SMALL)), frozenset({"speed.fast"}))])
    assert [(row.id, row.value, row.met) for row in rows] == [("speed.fast", 2.5, True)]
    written = {row["id"]: row for row in json.loads(report.read_text())}
    assert set(written) == {"speed.fast", "other.kept"}
    assert set(written["speed.fast"]) == {"id", "value", "unit", "goal", "met", "detail"}
    assert written["speed.fast"]["value"] == 2.5
    assert written["other.kept"]["detail"] == {"a": 1}


def test_benchmark_that_raises_fails_its_own_rows_with_words(tmp_path: Path) -> None:
    def broken(bench: Bench) -> None:
        bench.record("speed.fast", 3, {})
        raise RuntimeError("the peer is missing")

    chosen = [
        (Benchmark(broken, (FAST, SMALL)), frozenset({"speed.fast", "memory.small"})),
        (Benchmark(measure, (Goal("speed.fast", "x", at_least=2),)), frozenset()),
    ]
    rows = Runner(Report(tmp_path / "bench.json"), limit_s=60).run(chosen)
    assert [(row.id, row.value, row.met) for row in rows] == [("speed.fast", 3, True), ("memory.small", None, False)]
    assert "the peer is missing" in rows[1].detail["problem"]


def test_table_shows_what_was_missed() -> None:
    text = table([Row("a.b", 1.234, "x", ">= 2", met=False, detail={}), not_measured(SMALL, "why")])
    assert text.splitlines()[1].split() == ["a.b", "1.23", "x", ">=", "2", "NO"]
    assert text.splitlines()[2].split() == ["memory.small", "-", "MB", "<=", "300", "NO"]


def test_memory_of_a_process_is_read_from_the_kernel() -> None:
    assert parse_pss_mb("Rss: 9 kB\nPss:              1000 kB\nPss_Dirty: 5 kB\n") == 1.024
    assert parse_pss_mb("") == 0.0
    assert pss_mb(1 << 30) == 0.0


def test_sender_reads_the_largest_pdu_that_a_receiver_announces() -> None:
    user = item(0x50, item(0x51, (131072).to_bytes(4, "big")))
    assert announced_pdu_bytes(bytes(68) + item(0x10, b"1.2.3") + user) == 131072
    assert announced_pdu_bytes(bytes(68)) == 0
