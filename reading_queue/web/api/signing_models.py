"""The bodies of what physicians sign and confirm, each with the images that the case was shown with."""

from __future__ import annotations

from pydantic import Field

from reading_queue.services.reading import reading
from reading_queue.web.api.models import TEXT_MAX, Body, ReasonWords, Text

IMAGES_VERSION_MAX = 32
ORDER_ID_MAX = 32
ORDER_VERSION_MAX = 1_000_000
ORDERS_SEEN_MAX = 1_000


class ImagesSeen(Body):
    """Which images were looked at: the `images_version` of the case as it was shown.

    409 `images_changed` when other images came since.
    """

    images_version: str = Field(max_length=IMAGES_VERSION_MAX)


class OrderVersionSeen(Body):
    """One of the case's `order_news` as it was shown."""

    order_id: str = Field(max_length=ORDER_ID_MAX)
    order_version: int = Field(ge=1, le=ORDER_VERSION_MAX)


class OrdersSeen(Body):
    """Which changes of orders were looked at; those that came since stay to be confirmed."""

    orders: tuple[OrderVersionSeen, ...] = Field(max_length=ORDERS_SEEN_MAX)


class SubmittedText(Text, ImagesSeen):
    """The text to sign; `confirm`: a warning was looked at; `confirm_identity`: it is the right patient."""

    confirm: bool = False
    confirm_identity: bool = False


class SoleText(Text, ImagesSeen):
    """The text that one physician signs alone; `declared`: they say that they alone answer for it."""

    declared: bool = False
    confirm: bool = False


class FinalText(ImagesSeen):
    """The text to sign as verifier; without any part the author's text is signed as it is."""

    findings: str | None = Field(default=None, max_length=TEXT_MAX)
    impression: str | None = Field(default=None, max_length=TEXT_MAX)
    recommendation: str | None = Field(default=None, max_length=TEXT_MAX)
    confirm: bool = False
    confirm_identity: bool = False

    def report_text(self) -> reading.ReportText | None:
        """Return the final text, None where the author's stands. A part left out is empty."""
        parts = (self.findings, self.impression, self.recommendation)
        if all(part is None for part in parts):
            return None
        findings, impression, recommendation = (part or "" for part in parts)
        return reading.ReportText(findings=findings, impression=impression, recommendation=recommendation)


class Stands(ReasonWords, ImagesSeen):
    """Why the signed report stands as it is."""
