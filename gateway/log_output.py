"""How a gateway logs: one JSON object per line on standard error, tracebacks without the values of variables.

Patient data stays out: events are constant names with ids, and the libraries that print what passes through them
(pynetdicom, pydicom) are silenced; their failures are told by ours.
"""

from __future__ import annotations

import logging
import sys

import structlog

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
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
