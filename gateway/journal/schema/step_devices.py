"""The latest steps of a device are asked for again and again: they tell whether it ever reports an end."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE INDEX performed_steps_by_device ON performed_steps (calling_ae_title, received_at);
"""
