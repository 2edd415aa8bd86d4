"""What a study counts: the instances that are shown. Those that were rejected stay in their packs and count no more."""

from __future__ import annotations

from sqlalchemy import and_, func, select, text
from sqlalchemy.orm import Session

from storage.catalogue.amendment_tables import RejectedInstance
from storage.catalogue.tables import Instance, Series, Study
from storage.contract.rejection_codes import REJECTIONS

# The gravest of what notes say of each instance of a study; none, where no note that counts names it any more.
_REJECT = text(
    """
    UPDATE instances SET rejection = said.code
    FROM (
        SELECT i.instance_id, (
            SELECT r.code FROM rejected_instances r
            WHERE r.site_id = :site_id AND r.study_uid = :study_uid AND r.sop_instance_uid = i.sop_instance_uid
            ORDER BY array_position(:codes, r.code) LIMIT 1
        ) AS code
        FROM instances i JOIN series s ON s.series_id = i.series_id WHERE s.study_id = :study_id
    ) said
    WHERE said.instance_id = instances.instance_id AND instances.rejection IS DISTINCT FROM said.code
    """
)


def recount(session: Session, study: Study) -> None:
    """Set the counts of the study and its series from what is there and shown."""
    session.flush()
    shown = and_(Instance.series_id == Series.series_id, Instance.rejection.is_(None))
    query = (
        select(Series, func.count(Instance.instance_id), func.coalesce(func.sum(Instance.size_bytes), 0))
        .outerjoin(Instance, shown)
        .where(Series.study_id == study.study_id)
        .group_by(Series.series_id)
    )
    counted = session.execute(query).all()
    for series, instance_count, _ in counted:
        series.instance_count = instance_count
    shown_series = [series for series, instance_count, _ in counted if instance_count]
    study.modalities = sorted({series.modality for series in shown_series})
    study.series_count = len(shown_series)
    study.instance_count = sum(instance_count for _, instance_count, _ in counted)
    study.size_bytes = sum(int(size_bytes) for _, _, size_bytes in counted)
    session.flush()


def is_rejected_in_part(session: Session, study: Study) -> bool:
    """Return whether a note names instances of the study."""
    of_study = (RejectedInstance.site_id == study.site_id) & (RejectedInstance.study_uid == study.study_uid)
    return bool(session.scalar(select(select(RejectedInstance.code).where(of_study).exists())))


def hide_rejected(session: Session, study: Study) -> None:
    """Hide the instances that notes name, and show those that none names any more; the counts are the caller's."""
    session.flush()
    which = {"site_id": study.site_id, "study_uid": study.study_uid, "study_id": study.study_id}
    session.execute(_REJECT, {**which, "codes": list(REJECTIONS)})
