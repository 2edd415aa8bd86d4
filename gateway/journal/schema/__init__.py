"""The journal's tables, in versions: a journal of any earlier version is brought up to date when it is opened.

The spool directory is the truth for instances: `instances` is an index that can be made again from it. Transfers,
custody events, documents, receipts and orders live here alone and are durable on commit (WAL, synchronous=FULL). One
version is one transaction: a gateway that is cut off while it upgrades finds the journal as it was. What the second
version and later ones add has a module for each subject. A statement ends with a semicolon at the end of its line.
"""

from __future__ import annotations

from typing import Final

from gateway.journal.schema import (
    commitment,
    compression,
    console,
    control,
    course,
    first,
    identity_doubts,
    import_orders,
    imports,
    line,
    message_corrections,
    order_messages,
    orders,
    parts,
    preliminaries,
    priors,
    quarantine,
    query,
    reader,
    reader_cases,
    reader_index,
    receiving,
    returns,
    step_devices,
    step_instances,
    waiting_messages,
)

VERSIONS: Final[tuple[tuple[str, ...], ...]] = (
    (first.STATEMENTS,),
    (
        receiving.STATEMENTS,
        parts.STATEMENTS,
        control.STATEMENTS,
        commitment.STATEMENTS,
        console.STATEMENTS,
        imports.STATEMENTS,
        line.STATEMENTS,
        orders.STATEMENTS,
        priors.STATEMENTS,
        query.STATEMENTS,
        reader.STATEMENTS,
        returns.STATEMENTS,
    ),
    (reader_cases.STATEMENTS,),
    (reader_index.STATEMENTS,),
    (step_instances.STATEMENTS,),
    (quarantine.STATEMENTS,),
    (compression.STATEMENTS,),
    (import_orders.STATEMENTS,),
    (step_devices.STATEMENTS,),
    (course.STATEMENTS,),
    (order_messages.STATEMENTS,),
    (identity_doubts.STATEMENTS,),
    (message_corrections.STATEMENTS,),
    (preliminaries.STATEMENTS,),
    (waiting_messages.STATEMENTS,),
)
SCHEMA_VERSION: Final = len(VERSIONS)


def statements_after(version: int) -> list[str]:
    """Return the statements that bring a journal of this version to the newest, in order."""
    texts = [text for subjects in VERSIONS[version:] for text in subjects]
    return [statement for text in texts for statement in text.split(";\n") if statement.strip()]
