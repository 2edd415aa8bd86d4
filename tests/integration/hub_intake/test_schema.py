"""The migration chain makes exactly the declared tables, and can be taken back."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, inspect, text

from reading_queue.db import schema

pytestmark = pytest.mark.postgres


def test_migrated_database_has_no_drift_from_the_declared_tables(empty_database: Engine) -> None:
    schema.upgrade(empty_database)
    assert schema.find_drift(empty_database) == []


def test_downgrade_removes_every_table_and_upgrade_brings_them_back(empty_database: Engine) -> None:
    schema.upgrade(empty_database)
    schema.downgrade(empty_database, "base")
    assert inspect(empty_database).get_table_names() == ["alembic_version"]
    schema.upgrade(empty_database)
    assert schema.find_drift(empty_database) == []


def test_upgrade_twice_changes_nothing_and_keeps_the_rows(empty_database: Engine) -> None:
    schema.upgrade(empty_database)
    with empty_database.begin() as connection:
        connection.execute(text("INSERT INTO sites (site_id, name, created_at) VALUES ('qinghe', 'x', now())"))
    schema.upgrade(empty_database)
    with empty_database.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM sites")).scalar() == 1


def test_launches_of_an_older_hub_are_found_by_what_they_are_about(empty_database: Engine) -> None:
    schema.upgrade(empty_database)
    schema.downgrade(empty_database, "0001")
    with empty_database.begin() as connection:
        arguments = '{"attempt": 2, "report_id": "r1"}'
        row = "('reports.render', :arguments, now(), now())"
        insert = f"INSERT INTO outbox (job, arguments, created_at, due_at) VALUES {row}"
        connection.execute(text(insert), {"arguments": arguments})
    schema.upgrade(empty_database)
    with empty_database.connect() as connection:
        assert connection.execute(text("SELECT subject_id FROM outbox")).scalar() == "r1"


def test_two_processes_that_upgrade_at_once_both_end_at_the_newest_revision(empty_database: Engine) -> None:
    failures: list[Exception] = []

    def upgrade() -> None:
        try:
            schema.upgrade(empty_database)
        except Exception as exc:  # noqa: BLE001 -- carried out of the thread and asserted on
            failures.append(exc)

    threads = [threading.Thread(target=upgrade) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    schema.check_current(empty_database)


def test_check_current_says_what_to_do_about_an_empty_database(empty_database: Engine) -> None:
    with pytest.raises(schema.SchemaOutdated, match="counterpart-hub migrate"):
        schema.check_current(empty_database)


def test_check_current_refuses_an_unknown_revision(empty_database: Engine) -> None:
    schema.upgrade(empty_database)
    with empty_database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(schema.SchemaOutdated, match="9999"):
        schema.check_current(empty_database)


def test_names_of_an_older_hub_get_their_keys(empty_database: Engine) -> None:
    schema.upgrade(empty_database)
    schema.downgrade(empty_database, "0013")
    with empty_database.begin() as connection:
        connection.execute(text("INSERT INTO sites (site_id, name, created_at) VALUES ('qinghe', 'x', now())"))
        patient = "(patient_id, site_id, patient_number, name, sex) VALUES ('p', 'qinghe', '', '', '')"
        connection.execute(text(f"INSERT INTO patients {patient}"))
        columns = "study_id, site_id, study_uid, patient_id, patient_name, modalities, series_count, instance_count, "
        columns += "size_bytes, revision, first_received_at, catalogued_at"
        values = "'s' || n, 'qinghe', '1.' || n, 'p', '王^芳', '[]', 0, 0, 0, 0, now(), now()"
        connection.execute(text(f"INSERT INTO studies ({columns}) SELECT {values} FROM generate_series(1, 1001) n"))
    schema.upgrade(empty_database)
    with empty_database.connect() as connection:
        found = "SELECT count(*) FROM studies WHERE name_keys @> ARRAY['wangfang', '王芳', 'wf']"
        assert connection.execute(text(found)).scalar() == 1001
