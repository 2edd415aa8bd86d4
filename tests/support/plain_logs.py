"""What a test process says of an exception: its traceback, and not the variables of every frame.

structlog's own way of showing them takes seconds of work in the very thread that is to answer somebody.
"""

from __future__ import annotations

import structlog


def say_plainly() -> None:
    """Have structlog, as it is where nobody has configured it, show plain tracebacks from now on."""
    structlog.reset_defaults()
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])
