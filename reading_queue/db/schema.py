"""The hub database's schema: one Alembic chain, brought up to date here and checked here.

`upgrade` is safe to call from several processes at once (one advisory lock) and any number of times. A revision runs
whole or not at all: a process killed in the middle leaves the schema as it was.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, text

from storage.tables import Base

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_ID = 7_310_052_024  # any constant: only upgrades of this schema take it
_TABLE_MODULES = (
    "storage.ledger.tables",
    "storage.catalogue.tables",
    "storage.catalogue.amendment_tables",
    "storage.catalogue.keeping_tables",
    "storage.catalogue.link_tables",
    "reading_queue.db.tables",
    "reading_queue.db.course_tables",
    "reading_queue.db.consult_tables",
    "reading_queue.db.director_tables",
    "reading_queue.db.network_tables",
    "reading_queue.db.event_tables",
    "reading_queue.db.health_tables",
    "reading_queue.db.subscription_tables",
    "reading_queue.db.identity_tables",
    "reading_queue.db.message_tables",
    "reading_queue.db.order_tables",
)


class SchemaOutdated(Exception):
    """The database is not at the revision this program was built for."""


def metadata_of_hub() -> MetaData:
    """Return the metadata with every table of the hub, whichever module declares it."""
    for module in _TABLE_MODULES:
        importlib.import_module(module)
    return Base.metadata


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest revision; a database that is already there is left untouched."""
    with _migrating(engine) as config:
        command.upgrade(config, "head")


def downgrade(engine: Engine, revision: str) -> None:
    """Take the database back to `revision` ("base" removes every table and what is in it)."""
    with _migrating(engine) as config:
        command.downgrade(config, revision)


def check_current(engine: Engine) -> None:
    """Return when the database is at the newest revision.

    Raises:
        SchemaOutdated: it is empty, older or newer; the message says what to do.
    """
    head = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found is None:
        raise SchemaOutdated("the database has no tables of the hub yet: run `counterpart-hub migrate`")
    if found != head:
        raise SchemaOutdated(
            f"the database is at revision {found}, this program needs {head}: run `counterpart-hub migrate`, or, "
            "if the database is the newer one, update the program"
        )


def find_drift(engine: Engine) -> list[Any]:
    """Return Alembic's differences between the database and the declared tables; empty when they agree."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata_of_hub()))


@contextmanager
def _migrating(engine: Engine) -> Iterator[Config]:
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
        yield _config(connection)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
