"""What the log shows, and what never reaches it."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog
from psycopg.errors import UniqueViolation

from reading_queue.log import configure_logging
from tests.support.plain_logs import say_plainly


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {
        name: logging.getLogger(name).level for name in ("alembic", "kombu", "urllib3", "aiohttp.access", "pydicom")
    }
    show = warnings.showwarning
    yield
    warnings.showwarning = show
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    say_plainly()


def test_a_record_has_its_name_its_ids_and_the_role(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info", role="web")
    structlog.get_logger("here").info("case_offered", case_id="c1")
    record = json.loads(capsys.readouterr().err)
    assert (record["event"], record["case_id"], record["role"], record["level"]) == (
        "case_offered",
        "c1",
        "web",
        "info",
    )


def test_records_of_libraries_look_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info", role="worker")
    logging.getLogger("celery.worker").warning("lost %s", "connection")
    assert json.loads(capsys.readouterr().err)["event"] == "lost connection"


def fail(failure: Exception) -> None:
    raise failure


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_values_of_a_row_never_reach_the_log(capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure_logging("json" if form == "json" else "text", "info", role="web")
    told = "duplicate key\nDETAIL:  Key (name)=(Wang^XiaoDong) already exists."
    try:
        fail(UniqueViolation(told))
    except UniqueViolation:
        structlog.get_logger("here").exception("job_failed")
        logging.getLogger("library").exception("failed too")
    shown = capsys.readouterr().err
    assert "duplicate key" in shown
    assert "Wang" not in shown


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_library_quotes_never_reaches_the_log(capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure_logging("json" if form == "json" else "text", "info", role="web")
    name = "Wang^XiaoDong"
    try:
        int(name)
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"Invalid value for VR UI: {name!r}", UserWarning, stacklevel=1)
    logging.getLogger("pydicom").warning("Invalid value for VR UI: %r", name)
    shown = capsys.readouterr().err
    assert "ValueError" in shown
    assert "library_warns" in shown
    assert "Wang" not in shown


def test_what_is_below_the_level_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text", "warning", role="web")
    structlog.get_logger("here").info("nothing_special")
    assert capsys.readouterr().err == ""
