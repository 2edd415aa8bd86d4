"""Who may see which images: DICOMweb's question, answered by the hub's one authorisation function."""

from __future__ import annotations

from datetime import date

from aiohttp import web
from sqlalchemy import ColumnElement, Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import may_see, require, select_seen
from reading_queue.web.keys import HUB, get_viewer
from storage.contract.rejection_codes import QUALITY
from storage.dicomweb.catalogue_queries import MaySee
from storage.dicomweb.errors import BadQuery
from storage.ledger.tables import AuditEvent


class ImageAccess:
    """The caller's right as a condition, and the audit trail of what they opened."""

    def may_see(self, request: web.Request) -> MaySee:
        """Return the caller's right. Raises NotAuthenticated for nobody."""
        viewer, now = get_viewer(request), request.config_dict[HUB].clock()

        def condition(
            site_id: InstrumentedAttribute[str], study_uid: InstrumentedAttribute[str]
        ) -> ColumnElement[bool]:
            return may_see(viewer, site_id, study_uid, now)

        return condition

    def select_seen(self, request: web.Request) -> Select[str, date | None] | None:
        """Return what selects the studies of a caller who sees few of all. Raises NotAuthenticated for nobody."""
        return select_seen(get_viewer(request), request.config_dict[HUB].clock())

    def also_shown(self, request: web.Request) -> frozenset[str]:
        """Return what `?rejected=quality` asks for, of those who may: the site and who oversees it.

        Raises:
            Forbidden: a reader asks. BadQuery: for what nobody is shown.
        """
        asked = request.query.get("rejected")
        if not asked:
            return frozenset()
        require(get_viewer(request), Role.TECHNICIAN, Role.COORDINATOR, Role.ADMINISTRATOR)
        if asked != "quality":
            raise BadQuery("rejected=quality is all that can be asked for")
        return frozenset({QUALITY})

    def record(self, session: Session, request: web.Request, event_code: str, site_id: str, study_uid: str) -> None:
        """Write that the caller opened the study's images."""
        session.add(
            AuditEvent(
                at=request.config_dict[HUB].clock(),
                event_code=event_code,
                action="R",
                account_id=get_viewer(request).account_id,
                object_kind="study",
                object_id=study_uid,
                site_id=site_id,
                detail={},
            )
        )
