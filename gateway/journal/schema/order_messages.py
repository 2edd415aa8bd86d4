"""HL7 messages that bring orders, each kept before it is acknowledged; and which order a placer's number means."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE order_messages (
    message_id    INTEGER PRIMARY KEY,
    received_at   TEXT NOT NULL,
    address       TEXT NOT NULL,      -- of the connection
    sender        TEXT NOT NULL,      -- MSH-3 and MSH-4, empty where the message cannot be read
    control_id    TEXT NOT NULL,      -- MSH-10
    kind          TEXT NOT NULL,      -- MSH-9, such as OMI^O23
    digest        TEXT NOT NULL,      -- SHA-256 of the message as it came
    content       BLOB NOT NULL,      -- the message: names patients, never logged
    state         TEXT NOT NULL CHECK (state IN ('received', 'taken', 'refused')),
    code          TEXT NOT NULL DEFAULT '',   -- AA, AE or AR
    answer        BLOB,               -- the acknowledgement, the same for every repetition
    faults        TEXT NOT NULL DEFAULT '[]', -- storage.hl7.faults.Fault as JSON; of a taken message: what was left out
    order_ids     TEXT NOT NULL DEFAULT '[]',
    decided_at    TEXT,
    decided_by    TEXT NOT NULL DEFAULT ''    -- who had it tried again or dismissed it
) STRICT;
CREATE UNIQUE INDEX order_messages_once ON order_messages (sender, control_id, digest);
CREATE INDEX order_messages_by_time ON order_messages (received_at);
CREATE INDEX order_messages_waiting ON order_messages (message_id) WHERE state = 'received';

CREATE TABLE placer_orders (
    namespace      TEXT NOT NULL,     -- of the placer's numbers: ORC-2.2, else MSH-3
    placer_number  TEXT NOT NULL,     -- ORC-2.1
    order_id       TEXT NOT NULL REFERENCES orders (order_id) ON DELETE CASCADE,
    PRIMARY KEY (namespace, placer_number)
) STRICT;
CREATE INDEX placer_orders_by_order ON placer_orders (order_id);
"""
