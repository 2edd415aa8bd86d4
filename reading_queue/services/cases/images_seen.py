"""Which images of a case somebody was shown, and whether others came since.

Durable: `Case.images_version` counts what came or was corrected after the case was declared; the case's lock guards it.
A page or a program names what it was shown by an opaque token. Evidence that a reader's workstation sends is no news.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, CaseStudy
from reading_queue.errors import ImagesChanged, ImagesUnacknowledged, Invalid
from storage.catalogue.tables import Study

_TOKEN: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


def images_token(case: Case, instance_counts: Iterable[int]) -> str:
    """Return the token of what the case shows now, `instance_counts` being those of its studies."""
    return f"{case.images_version}-{sum(instance_counts)}"


def note_news(case: Case) -> None:
    """Note that images came or were corrected; the case is locked.

    Who has ever taken the case may have written about what it showed before, so they must look again before signing.
    """
    case.images_version += 1
    case.images_unacknowledged = case.images_unacknowledged or case.claimed_at is not None


def require_shown(session: Session, case: Case, token: str) -> None:
    """Raise ImagesChanged unless the case, which is locked, still shows what `token` names; Invalid for no token."""
    named = _TOKEN.fullmatch(token)
    if named is None:
        raise Invalid("say which images were shown: the images_version that the case was shown with")
    version, shown = map(int, named.groups())
    if version == case.images_version:
        return
    of_case = (CaseStudy.site_id == Study.site_id) & (CaseStudy.study_uid == Study.study_uid)
    counted = select(func.sum(Study.instance_count)).join(CaseStudy, of_case).where(CaseStudy.case_id == case.case_id)
    raise ImagesChanged(max(0, int(session.scalar(counted) or 0) - shown))


def require_all_seen(session: Session, case: Case, token: str | None) -> None:
    """Raise ImagesChanged or ImagesUnacknowledged unless who signs has seen all that the case, locked, shows now.

    `token` names what they were shown; without one it must have been acknowledged.
    """
    if token is not None:
        require_shown(session, case, token)
    if case.images_unacknowledged:
        raise ImagesUnacknowledged
