"""How a failure is told in a log, the same on both sides of the line: where it happened, and no word of what was read.

Pure. Exceptions quote what they were given: `int("…")`, a header that cannot be parsed, an address with its signature.
Only those known to speak without quoting keep their text; of any other the log has the class and the traceback.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Final

# Our own messages never quote; those of servers' drivers name addresses, tables and commands. What a row held is told
# in lines of their own, which the hub's log takes out.
PLAIN_SPOKEN: Final = frozenset(
    {"gateway", "reading_queue", "storage", "sqlalchemy", "psycopg", "sqlite3", "alembic"}
    | {"redis", "kombu", "amqp", "billiard", "celery", "minio"}
)
QUOTING_BUILTINS: Final = (ValueError, LookupError)
BAD_VALUE, BAD_STATEMENT = "DataError", "StatementError"  # of drivers: they quote the value that did not fit
LEFT_OUT: Final = "[left out: it may quote what was read]"
CAUSED: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
MEANWHILE: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"
CHAIN_MAX: Final = 20


def format_failure(failure: BaseException) -> str:
    """Return the traceback of `failure` and of what led to it, oldest first, as Python writes it but for quotations."""
    return "".join(reversed([_told(one) + link for one, link in _chain(failure)])).rstrip()


def speaks_plainly(failure: BaseException) -> bool:
    """Return whether the text of this exception may be shown."""
    kind = type(failure)
    if kind.__module__ == "builtins":
        return not isinstance(failure, QUOTING_BUILTINS)
    if any(base.__name__ == BAD_VALUE for base in kind.__mro__) or kind.__name__ == BAD_STATEMENT:
        return False
    return kind.__module__.partition(".")[0] in PLAIN_SPOKEN


def _told(failure: BaseException) -> str:
    name = f"{type(failure).__module__}.{type(failure).__qualname__}".removeprefix("builtins.")
    text = str(failure) if speaks_plainly(failure) else LEFT_OUT
    places = "".join(traceback.format_tb(failure.__traceback__))
    return f"Traceback (most recent call last):\n{places}{name}{': ' if text else ''}{text}\n"


def _chain(failure: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Yield `failure` and its causes, newest first, each with the words that lead on to the one yielded before it."""
    link = ""
    one: BaseException | None = failure
    for _ in range(CHAIN_MAX):
        if one is None:
            return
        yield one, link
        link, earlier = (CAUSED, one.__cause__) if one.__cause__ else (MEANWHILE, one.__context__)
        one = None if link == MEANWHILE and one.__suppress_context__ else earlier
