"""Which order an import was started for, and what became of that."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
-- NULL: for no order
ALTER TABLE imports ADD COLUMN order_id TEXT;
-- gateway.importing.joining.Joined; NULL: not tried yet
ALTER TABLE imports ADD COLUMN joined TEXT;
"""
