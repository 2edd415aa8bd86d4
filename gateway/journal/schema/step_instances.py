"""Which instances a performed step names: its study waits for those of all its steps, whichever ends last."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
ALTER TABLE performed_steps ADD COLUMN instances TEXT NOT NULL DEFAULT '[]';  -- JSON array of SOP Instance UIDs
"""
