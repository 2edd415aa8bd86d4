from __future__ import annotations

import sqlalchemy as sa


def test_every_test_gets_a_migrated_database_of_its_own(database: sa.Engine) -> None:
    with database.begin() as connection:
        assert sa.inspect(connection).has_table("outbox")
        connection.execute(sa.text("CREATE TABLE mine (id int)"))


def test_what_one_test_writes_another_never_sees(database: sa.Engine) -> None:
    assert not sa.inspect(database).has_table("mine")
