"""Logging of the hub: constant event names with identifiers, as lines for people or JSON for machines, on stderr.

Never patient data. What may quote it is taken out of every traceback here, once, for our own log and for that of every
library: the texts of exceptions that are not known to speak plainly, and the DETAIL lines of database errors, which
name the offending row. Warnings are for programmers and may quote too: their texts are left out.
"""

from __future__ import annotations

import io
import logging
import re
import sys
import warnings
from typing import Any, Literal, TextIO

import structlog
from structlog.types import ExcInfo

from storage.contract.tracebacks import format_failure

_TELLING_LINE = re.compile(r"^(DETAIL|CONTEXT|PARAMETERS|\[parameters):?.*$", re.MULTILINE)


def configure_logging(format_: Literal["text", "json"], level: str, *, role: str) -> None:
    """Send structlog's and the standard library's records to stderr in one form, each with the process's `role`."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_role(role),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(format_)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("alembic", "aiohttp.access", "celery.app.trace", "celery.worker.strategy", "kombu", "urllib3"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    for quoting in ("pydicom", "highdicom"):
        logging.getLogger(quoting).setLevel(logging.CRITICAL)
    warnings.showwarning = _log_warning


def format_traceback(exc_info: Any) -> str:
    """Return the traceback without quotations and without the lines in which PostgreSQL tells a row's values."""
    _, failure, _ = exc_info
    return _TELLING_LINE.sub("[left out: values of a row]", format_failure(failure)) if failure is not None else ""


def _log_warning(
    message: Warning | str,  # noqa: ARG001 -- it may quote a value
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    structlog.get_logger(__name__).warning("library_warns", kind=category.__name__, place=f"{filename}:{lineno}")


def _renderers(format_: Literal["text", "json"]) -> list[structlog.types.Processor]:
    if format_ == "json":
        return [_traceback_as_text, structlog.processors.JSONRenderer(ensure_ascii=False)]
    return [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=_print_traceback)]


def _with_role(role: str) -> structlog.types.Processor:
    def add(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {**event, "role": role}

    return add


def _traceback_as_text(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    exc_info = event.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    elif isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    return {**event, "exception": format_traceback(exc_info)} if exc_info else event


def _print_traceback(stream: Any, exc_info: ExcInfo) -> None:
    output: io.TextIOBase = stream
    output.write("\n" + format_traceback(exc_info))
