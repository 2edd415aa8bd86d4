"""What queries over the held studies need to be quick."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE INDEX studies_by_patient ON studies (patient_number);
CREATE INDEX studies_by_study_date ON studies (study_date);
CREATE INDEX instances_by_series ON instances (series_uid);
"""
