"""An open worklist: cases with their studies and patients that wait to be read, made by the database itself."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from storage.catalogue.name_keys import keys_of_name
from storage.catalogue.pinyin import readings
from tests.benchmarks.archive_of_studies import GIVEN, SURNAMES

PHYSICIANS: Final = 200
OFFERED_TO: Final = 3

NAMES = "CREATE UNLOGGED TABLE open_names (number int PRIMARY KEY, name text NOT NULL, keys text[] NOT NULL)"
# Case n arrived n seconds ago; one in ten is stat, two are urgent; one in seven is late. It is offered to n, n+1, n+2
# of the physicians in a circle, the first of whom is the one that is asked for.
CASES = """
WITH numbers AS (
    SELECT n, 'open-' || n AS id, sites[1 + n % cardinality(sites)] AS site_id, names.name, names.keys
    FROM generate_series(0, :cases - 1) n
    JOIN open_names names ON names.number = n * 37 % :names,
    (SELECT array_agg(site_id ORDER BY site_id) AS sites FROM sites JOIN organisations USING (site_id)) s
), patients AS (
    INSERT INTO patients (patient_id, site_id, patient_number, name, sex)
    SELECT id, site_id, 'W' || lpad(n::text, 8, '0'), name, 'F' FROM numbers
), studies AS (
    INSERT INTO studies (study_id, site_id, study_uid, patient_id, patient_name, name_keys, patient_sex, study_number,
                         accession_number, description, study_date, study_time, modalities, series_count,
                         instance_count, size_bytes, revision, first_received_at, catalogued_at)
    SELECT id, site_id, '2.25.6' || n, id, name, keys, 'F', 'S' || n, 'X' || lpad(n::text, 9, '0'), '胸部平扫',
           current_date, '090000', '["CT"]', 2, 400, 200000000, 1, now(), now() FROM numbers
), cases AS (
    INSERT INTO cases (case_id, site_id, organisation_id, state, lane, modality, first_instance_at, last_instance_at,
                       created_at, ready_at, offered_at, due_at, look_again_at, version)
    SELECT id, site_id, organisation_id, 'offered',
           CASE WHEN n % 10 = 0 THEN 'stat' WHEN n % 10 < 3 THEN 'urgent' ELSE 'routine' END,
           CASE WHEN n % 3 = 0 THEN 'DX' ELSE 'CT' END, now() - n * interval '1 second', now(), now(), now(), now(),
           now() + ((n * 7919 % 86400) - 12000) * interval '1 second', '9999-01-01', 1
    FROM numbers JOIN organisations USING (site_id)
), of_cases AS (
    INSERT INTO case_studies (case_id, site_id, study_uid) SELECT id, site_id, '2.25.6' || n FROM numbers
), tasks AS (
    INSERT INTO reading_tasks (reading_task_id, workitem_uid, case_id, phase, state, created_at, version)
    SELECT id, '2.25.9' || n, id, 'interpretation', 'scheduled', now(), 1 FROM numbers
)
INSERT INTO offers (offer_id, reading_task_id, physician_id, agreement_id, state, offered_at, expires_at, why)
SELECT id || '-' || k, id, CASE (n + k) % :physicians WHEN 0 THEN :first ELSE 'bench-' || (n + k) % :physicians END,
       (SELECT min(agreement_id) FROM agreements), 'open', now(), now() + interval '1 day', '{}'
FROM numbers, generate_series(0, :each - 1) k
"""


def fill_worklist(engine: sa.Engine, cases: int, login: str) -> int:
    """Make the cases and their offers to `login` and to the physicians of the benchmark; return how many to `login`."""
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        connection.execute(sa.text(NAMES))
        names = [f"{surname}^{given}" for surname in SURNAMES for given in GIVEN]
        rows = [{"number": n, "name": name, "keys": keys_of_name(name, readings)} for n, name in enumerate(names)]
        connection.execute(sa.text("INSERT INTO open_names VALUES (:number, :name, :keys)"), rows)
        physician = sa.text("SELECT physician_id FROM physicians JOIN accounts USING (account_id) WHERE login = :login")
        first = connection.scalar(physician, {"login": login})
        values = {"cases": cases, "names": len(names), "physicians": PHYSICIANS, "each": OFFERED_TO, "first": first}
        connection.execute(sa.text(CASES), values)
        counted = sa.text("SELECT count(*) FROM offers WHERE physician_id = :first")
        offered = int(connection.scalar(counted, {"first": first}) or 0)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM (ANALYZE)"))
    return offered
