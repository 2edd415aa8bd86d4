"""How large an instance was before it was made smaller."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
-- NULL: it travels as it came, or was made smaller before this was noted
ALTER TABLE instances ADD COLUMN received_size_bytes INTEGER;
"""
