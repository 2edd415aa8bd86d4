"""How a gateway logs: one JSON object per line on standard error, tracebacks without the values of variables.

Patient data stays out: events are constant names with ids, and the libraries that print what passes through them
(pynetdicom, pydicom) are silenced; their failures are told by ours. Their warnings quote values, and so do the texts of
exceptions that are not known to speak plainly: both are told by kind and place alone.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TextIO

import structlog
from structlog.typing import ExcInfo

from storage.contract.tracebacks import format_failure

_TALKATIVE = ("pynetdicom", "pydicom", "urllib3")


def configure_logs() -> None:
    """Set up structlog for a process that serves."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_format_traceback),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    warnings.showwarning = _log_warning


def _format_traceback(exc_info: ExcInfo) -> str:
    return format_failure(exc_info[1])


def _log_warning(
    message: Warning | str,  # noqa: ARG001 -- it may quote a value
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    structlog.get_logger(__name__).warning("library_warns", kind=category.__name__, place=f"{filename}:{lineno}")
