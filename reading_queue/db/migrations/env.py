"""Alembic's entry: runs the revisions on the connection that `reading_queue.db.schema` hands over.

Never opens a connection of its own and reads no configuration: the caller owns both, and the transaction.
"""

from __future__ import annotations

from alembic import context

from reading_queue.db.schema import metadata_of_hub

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata_of_hub(),
    compare_type=True,
    compare_server_default=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
