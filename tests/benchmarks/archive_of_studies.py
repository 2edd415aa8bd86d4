"""A hub's catalogue with as many studies as are wanted, made by the database itself; nothing of it is an image.

Every day has as many studies as every other, so that a search for a day finds as many in a small archive as in a large.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from storage.catalogue.name_keys import keys_of_name
from storage.catalogue.pinyin import readings

STUDIES_PER_DAY: Final = 550
STUDIES_PER_PATIENT: Final = 3
SURNAMES: Final = "王李张刘陈杨黄赵周吴徐孙马胡朱郭何罗高林郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈"
GIVEN: Final = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英"
NAMES_COUNT: Final = len(SURNAMES) * len(GIVEN) ** 2
SPREAD: Final = 7919  # a prime, so that neighbours have different surnames

NAMES = """
CREATE UNLOGGED TABLE bench_names (number int PRIMARY KEY, name text NOT NULL, keys text[] NOT NULL)
"""
# A study's number decides everything else of it: study n lies n / STUDIES_PER_DAY days before the newest.
PATIENTS = """
INSERT INTO patients (patient_id, site_id, patient_number, name, sex)
SELECT md5('patient' || n), sites[1 + n % cardinality(sites)], 'P' || lpad(n::text, 8, '0'), names.name, 'F'
FROM generate_series(:first / :each, (:end - 1) / :each) n,
     (SELECT array_agg(site_id ORDER BY site_id) AS sites FROM sites) s,
     bench_names names
WHERE names.number = n % :names
ON CONFLICT DO NOTHING
"""
STUDIES = """
INSERT INTO studies (study_id, site_id, study_uid, patient_id, patient_name, name_keys, patient_sex, accession_number,
                     study_number, description, study_date, study_time, modalities, series_count, instance_count,
                     size_bytes, revision, first_received_at, catalogued_at)
SELECT md5('study' || n), p.site_id, '2.25.' || (4000000000 + n), p.patient_id, p.name, names.keys, 'F',
       'A' || lpad(n::text, 9, '0'), 'S' || n, '胸部CT平扫', date '2026-03-01' - (n / :per_day)::int,
       lpad((n % 24)::text, 2, '0') || '3000', '["CT"]', 2, 400, 200000000, 1, now(), now()
FROM generate_series(:first, :end - 1) n
JOIN patients p ON p.patient_id = md5('patient' || n / :each)
JOIN bench_names names ON names.number = (n / :each) % :names
"""
INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
WHERE tablename IN ('patients', 'studies') AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""
# One physician has read every so many of the newest studies.
READ = """
WITH read AS (
    SELECT n, md5('case' || n) AS case_id, s.site_id, s.study_uid
    FROM generate_series(0, :read - 1) n JOIN studies s ON s.study_id = md5('study' || n * :every)
), cases AS (
    INSERT INTO cases (case_id, site_id, organisation_id, state, lane, modality, first_instance_at, last_instance_at,
                       created_at, version)
    SELECT case_id, site_id, site_id, 'acknowledged', 'routine', 'CT', now(), now(), now(), 1 FROM read
), of_cases AS (
    INSERT INTO case_studies (case_id, site_id, study_uid) SELECT case_id, site_id, study_uid FROM read
)
INSERT INTO reading_tasks (reading_task_id, workitem_uid, case_id, phase, state, holder_id, created_at, version)
SELECT case_id, '2.25.' || (9000000000 + n), case_id, 'interpretation', 'completed', :physician, now(), 1 FROM read
"""


def fill(engine: sa.Engine, first: int, end: int) -> None:
    """Add the studies from number `first` to before `end`, and let the database count what it has."""
    values = {
        "first": first,
        "end": end,
        "each": STUDIES_PER_PATIENT,
        "per_day": STUDIES_PER_DAY,
        "names": NAMES_COUNT,
    }
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        if not sa.inspect(connection).has_table("bench_names"):
            _make_names(connection)
        indexes = connection.execute(sa.text(INDEXES)).all()  # made anew at the end, which is quicker by far
        for index in indexes:
            connection.execute(sa.text(f"DROP INDEX {index.indexname}"))
        connection.execute(sa.text(PATIENTS), values)
        connection.execute(sa.text("ANALYZE patients"))
        connection.execute(sa.text(STUDIES), values)
        connection.execute(sa.text("SET LOCAL maintenance_work_mem = '256MB'"))
        for index in indexes:
            connection.execute(sa.text(index.indexdef))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM (ANALYZE)"))


def let_read(engine: sa.Engine, login: str, *, read: int, every: int) -> None:
    """Write that a physician has read `read` studies, each `every` studies the next one."""
    with engine.begin() as connection:
        physician = sa.text("SELECT physician_id FROM physicians JOIN accounts USING (account_id) WHERE login = :login")
        physician_id = connection.scalar(physician, {"login": login})
        connection.execute(sa.text(READ), {"read": read, "every": every, "physician": physician_id})


def name_of(number: int) -> str:
    """Return the name of the patient of a study."""
    return _name(number // STUDIES_PER_PATIENT * SPREAD % NAMES_COUNT)


def _name(number: int) -> str:
    number, last = divmod(number, len(GIVEN))
    number, middle = divmod(number, len(GIVEN))
    return f"{SURNAMES[number]}^{GIVEN[middle]}{GIVEN[last]}"


def _make_names(connection: sa.Connection) -> None:
    connection.execute(sa.text(NAMES))
    rows = []
    for number in range(NAMES_COUNT):
        name = _name(number * SPREAD % NAMES_COUNT)
        rows.append({"number": number, "name": name, "keys": keys_of_name(name, readings)})
    connection.execute(sa.text("INSERT INTO bench_names VALUES (:number, :name, :keys)"), rows)
