"""Orders that a person made of a refused HL7 message, by the number of the order in the message."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE message_corrections (
    message_id    INTEGER NOT NULL REFERENCES order_messages (message_id) ON DELETE CASCADE,
    number        INTEGER NOT NULL,   -- of the order in the message, from 1
    order_id      TEXT NOT NULL REFERENCES orders (order_id) ON DELETE CASCADE,
    faults        TEXT NOT NULL,      -- storage.hl7.faults.Fault as JSON: why the message was refused
    corrected_at  TEXT NOT NULL,
    corrected_by  TEXT NOT NULL,      -- an account's id
    PRIMARY KEY (message_id, number)
) STRICT;
CREATE INDEX message_corrections_by_order ON message_corrections (order_id);
"""
