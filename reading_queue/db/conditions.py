"""Conditions of statements that SQLAlchemy has no word for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Text, any_, literal


def among(column: Any, values: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that the column is one of these, in one parameter: there may be more than a statement's."""
    condition: ColumnElement[bool] = column == any_(literal(list(values), ARRAY(Text)))
    return condition
