"""The order messages that may need somebody, found among any number of others."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE INDEX order_messages_to_do ON order_messages (message_id) WHERE state = 'refused' OR faults <> '[]';
"""
