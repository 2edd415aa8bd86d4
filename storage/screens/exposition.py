"""Figures for a monitoring system, as text: the Prometheus exposition format, version 0.0.4. Pure.

Only numbers, and labels from short lists (lanes, queues, sites): never anything about a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Sample:
    """One number, and what tells it from the others of its figure."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with all its samples; `words` say what it counts and in which unit."""

    name: str
    words: str
    samples: tuple[Sample, ...]
    kind: Literal["gauge", "counter"] = "gauge"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name} is no name of a figure")


def gauge(name: str, words: str, value: float) -> Figure:
    """Return a figure of one number."""
    return Figure(name, words, (Sample(value),))


def gauges(name: str, words: str, label: str, values: Mapping[str, float]) -> Figure:
    """Return a figure with one number for each value of one label."""
    return Figure(name, words, tuple(Sample(value, {label: key}) for key, value in values.items()))


def exposition(figures: Iterable[Figure]) -> str:
    """Return the figures as a scraper reads them."""
    lines: list[str] = []
    for figure in figures:
        lines += [f"# HELP {figure.name} {_escaped(figure.words)}", f"# TYPE {figure.name} {figure.kind}"]
        lines += [f"{figure.name}{_labels(sample.labels)} {sample.value:.10g}" for sample in figure.samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    quoted = (f'{name}="{_escaped(value, quote=True)}"' for name, value in labels.items())
    return "{" + ",".join(quoted) + "}"


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text
