"""Patients, studies, series, instances and packs in the database. Hub only."""
