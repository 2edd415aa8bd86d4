"""Which rows are shown, as conditions: instances that no note rejects, and what holds any of them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, or_, select

from storage.catalogue.tables import Instance, Series, Study

Also = frozenset[str]  # the codes of rejected instances that are shown all the same
NONE: Final[Also] = frozenset()


def is_shown(also: Also = NONE) -> ColumnElement[bool]:
    """Return the condition that an Instance is shown."""
    shown: ColumnElement[bool] = Instance.rejection.is_(None)
    return or_(shown, Instance.rejection.in_(also)) if also else shown


def has_shown(also: Also = NONE) -> ColumnElement[bool]:
    """Return the condition that something of a Study is shown."""
    if not also:
        return Study.instance_count > 0
    within = select(Instance.instance_id).join(Series, Series.series_id == Instance.series_id)
    return within.where(Series.study_id == Study.study_id, is_shown(also)).exists()


def series_has_shown(also: Also = NONE) -> ColumnElement[bool]:
    """Return the condition that something of a Series is shown."""
    if not also:
        return Series.instance_count > 0
    of_series = Instance.series_id == Series.series_id
    return select(Instance.instance_id).where(of_series, is_shown(also)).correlate(Series).exists()
