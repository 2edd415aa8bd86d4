"""Which exceptions may speak in a log."""

from __future__ import annotations

import traceback

import psycopg
import pytest
import sqlalchemy.exc
from aiohttp.http_exceptions import BadHttpMessage

from storage.contract.identifiers import InvalidIdentifier
from storage.contract.tracebacks import format_failure, speaks_plainly

NAME = "慕容^雪鸢"
PLAIN = [
    InvalidIdentifier("UID is empty"),
    TypeError("one argument is missing"),
    FileNotFoundError(2, "No such file or directory", "spool/x"),
    psycopg.errors.UniqueViolation("duplicate key"),
    sqlalchemy.exc.OperationalError("SELECT 1", {}, psycopg.OperationalError("connection refused")),
]
QUOTING = [
    ValueError(f"invalid literal for int(): {NAME!r}"),
    KeyError(NAME),
    UnicodeEncodeError("ascii", NAME, 0, 1, "ordinal not in range(128)"),
    BadHttpMessage(f"Invalid header: {NAME}"),
    psycopg.errors.InvalidTextRepresentation(f'invalid input syntax for type uuid: "{NAME}"'),
    sqlalchemy.exc.DataError("SELECT 1", {}, psycopg.DataError(NAME)),
    sqlalchemy.exc.StatementError(NAME, "SELECT 1", {}, ValueError(NAME)),
]


@pytest.mark.parametrize("failure", PLAIN, ids=lambda one: type(one).__name__)
def test_what_speaks_plainly_keeps_its_words(failure: Exception) -> None:
    assert speaks_plainly(failure)
    assert str(failure) in format_failure(failure)


@pytest.mark.parametrize("failure", QUOTING, ids=lambda one: type(one).__name__)
def test_what_may_quote_leaves_only_its_class(failure: Exception) -> None:
    told = format_failure(failure)
    assert type(failure).__name__ in told
    assert "慕容" not in told
    assert "雪鸢" not in told


def fail(failure: Exception) -> None:
    raise failure


def fail_in_a_row() -> None:
    try:
        try:
            fail(TypeError("first"))
        except TypeError as exc:
            raise RuntimeError("second") from exc
    except RuntimeError:
        fail(OSError("third"))


def fail_without_a_cause() -> None:
    try:
        fail(TypeError("hidden"))
    except TypeError:
        raise RuntimeError("shown") from None


def test_the_chain_reads_as_python_writes_it() -> None:
    with pytest.raises(OSError, match="third") as caught:
        fail_in_a_row()
    assert format_failure(caught.value) == "".join(traceback.format_exception(caught.value)).rstrip()


def test_a_cause_that_was_cut_off_stays_out() -> None:
    with pytest.raises(RuntimeError, match="shown") as caught:
        fail_without_a_cause()
    assert "hidden" not in format_failure(caught.value)
