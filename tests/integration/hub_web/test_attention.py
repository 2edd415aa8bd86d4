"""What waits for a person is shown with what to do about it, and is gone when it has moved on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from reading_queue.db.network_tables import DutyPeriod
from reading_queue.db.tables import Case
from reading_queue.services.cases.attention import FORGET_AFTER, STALLED_AFTER, Stuck, StuckKind, stuck
from reading_queue.services.hub import Hub
from storage.catalogue.tables import Grant, GrantedPack, Instance, Pack, Series, Study, Transfer
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.ledger.tables import CustodyEvent
from tests.integration.hub_web.county import COORDINATOR, FIRST_SITE, TECHNICIAN, County
from tests.integration.hub_web.serving import Visitor
from tests.support.clock import SteerableClock

STUDY = "1.2.3.1"
LONG_S = STALLED_AFTER.total_seconds() + 1


@pytest.fixture
def found(hub: Hub, county: County) -> Callable[..., list[Stuck]]:
    """`found(kind)` returns what the coordinator sees of this kind."""

    def of(kind: StuckKind) -> list[Stuck]:
        return [item for item in stuck(hub, county.viewer(COORDINATOR)) if item.kind is kind]

    return of


def happens(hub: Hub, hop: Hop, *, place: str = f"gateway:gateway-{FIRST_SITE}", **values: Any) -> None:
    """Write a line of the ledger, as of now."""
    now = hub.clock()
    event = {"event_key": new_id(), "site_id": FIRST_SITE, "study_uid": STUDY, "at": now, "received_at": now}
    with hub.transaction() as session:
        session.add(CustodyEvent(**{**event, "hop": hop, "place": place, "detail": {}, **values}))


def declare(hub: Hub, state: str, *, study_uid: str = STUDY) -> str:
    """Let a transfer be declared now; return its id."""
    transfer_id = new_id()
    with hub.transaction() as session:
        session.add(
            Transfer(
                transfer_id=transfer_id,
                site_id=FIRST_SITE,
                gateway_id=f"gateway-{FIRST_SITE}",
                study_uid=study_uid,
                revision=1,
                lane="routine",
                manifest_sha256=new_id(),
                manifest={},
                state=state,
                declared_at=hub.clock(),
            )
        )
    return transfer_id


def grant(hub: Hub, transfer_id: str, **pack: Any) -> None:
    """Let upload of one pack be granted now."""
    grant_id, now = new_id(), hub.clock()
    values = {"pack_sha256": new_id(), "size_bytes": 1, "staging_key": "", "sop_instance_uids": ["1.1", "1.2"]}
    with hub.transaction() as session:
        session.add(Grant(grant_id=grant_id, transfer_id=transfer_id, created_at=now, expires_at=now))
        session.flush()
        session.add(GrantedPack(granted_pack_id=new_id(), grant_id=grant_id, **values, **pack))


def catalogue(hub: Hub, uid: str) -> None:
    """Let an instance of the study be verified now."""
    series_id, pack_id = new_id(), new_id()
    with hub.transaction() as session:
        study_id = session.scalars(select(Study.study_id).where(Study.study_uid == STUDY)).one()
        session.add(
            Series(series_id=series_id, study_id=study_id, series_uid="1.2", modality="CT", number=1, instance_count=1)
        )
        keys = {"object_key": "", "headers_key": "", "size_bytes": 1}
        session.add(Pack(pack_id=pack_id, study_id=study_id, pack_sha256=new_id(), verified_at=hub.clock(), **keys))
        session.flush()
        digests = dict.fromkeys(("received_sha256", "stored_sha256"), "0" * 64)
        where = {"site_id": FIRST_SITE, "series_id": series_id, "pack_id": pack_id, "offset_bytes": 0}
        what = {"sop_class_uid": "1", "transfer_syntax_uid": "1", "frame_count": 0, "frame_spans": [], "size_bytes": 1}
        session.add(Instance(instance_id=new_id(), sop_instance_uid=uid, **where, **what, **digests))


def test_images_after_the_signature_are_shown_for_a_while(
    hub: Hub, hub_clock: SteerableClock, county: County, found: Callable[..., list[Stuck]]
) -> None:
    case_id = county.arrive(STUDY)
    happens(hub, Hop.LATE_IMAGES, place="hub", case_id=case_id)
    county.submit(case_id)
    county.sign(case_id)
    assert found(StuckKind.LATE_IMAGES) == [], "the reader has seen what came before the signature"
    hub_clock.advance(60)
    happens(hub, Hop.LATE_IMAGES, place="hub", case_id=case_id)
    happens(hub, Hop.LATE_IMAGES, place="hub", case_id=case_id)
    (late,) = found(StuckKind.LATE_IMAGES)
    assert (late.study_uid, late.case_id, late.since) == (STUDY, case_id, hub_clock.now)
    hub_clock.advance(FORGET_AFTER.total_seconds())
    assert found(StuckKind.LATE_IMAGES) == []


def test_quarantine_is_shown_by_reason_until_the_hub_has_the_instance(
    hub: Hub, hub_clock: SteerableClock, county: County, found: Callable[..., list[Stuck]]
) -> None:
    county.arrive(STUDY)
    for uid, code in (("1.1", "dataset_truncated"), ("1.2", "dataset_truncated"), ("1.3", "duplicate_differs")):
        happens(hub, Hop.QUARANTINED, sop_instance_uid=uid, detail={"code": code})
    happens(hub, Hop.QUARANTINED, study_uid="9.9.9", detail={"code": "missing_identifier"})
    happens(hub, Hop.REFUSED, place="hub", detail={"code": "hash_differs"})
    counted = {item.code: (item.instance_count, item.case_id is None) for item in found(StuckKind.QUARANTINED)}
    assert counted == {
        "dataset_truncated": (2, False),
        "duplicate_differs": (1, False),
        "missing_identifier": (1, True),
    }
    hub_clock.advance(60)
    catalogue(hub, "1.1")
    counted = {item.code: (item.instance_count, item.case_id is None) for item in found(StuckKind.QUARANTINED)}
    assert counted["dataset_truncated"] == (1, False)


def test_instance_that_the_hub_held_before_does_not_settle_a_conflict(
    hub: Hub, hub_clock: SteerableClock, county: County, found: Callable[..., list[Stuck]]
) -> None:
    county.arrive(STUDY)
    catalogue(hub, "1.1")
    hub_clock.advance(60)
    happens(hub, Hop.QUARANTINED, sop_instance_uid="1.1", detail={"code": "hub_holds_other_bytes"})
    assert [item.code for item in found(StuckKind.QUARANTINED)] == ["hub_holds_other_bytes"]


def test_transfer_that_does_not_go_on_is_shown(
    hub: Hub, hub_clock: SteerableClock, county: County, found: Callable[..., list[Stuck]]
) -> None:
    county.declare(STUDY)
    transfer_id = declare(hub, "receiving")
    hub_clock.advance(LONG_S / 2)
    grant(hub, transfer_id, state="committed", committed_at=hub.clock())
    heard_at = hub_clock.now
    hub_clock.advance(LONG_S / 2)
    assert found(StuckKind.STALLED) == [], "a pack came in between"
    hub_clock.advance(LONG_S)
    (stalled,) = found(StuckKind.STALLED)
    assert (stalled.study_uid, stalled.since) == (STUDY, heard_at)


def test_smaller_manifest_that_became_whole_settles_the_transfer_before(
    hub: Hub, hub_clock: SteerableClock, county: County, found: Callable[..., list[Stuck]]
) -> None:
    county.declare(STUDY)
    transfer_id = declare(hub, "receiving")
    grant(hub, transfer_id, state="refused", refusal_code="hash_differs", refusal_reason="the pack has another SHA-256")
    hub_clock.advance(LONG_S)
    assert [len(found(kind)) for kind in (StuckKind.STALLED, StuckKind.REFUSED_PACK)] == [1, 1]
    declare(hub, "receiving")
    assert found(StuckKind.STALLED) == [], "the newest transfer of a study counts, and it has just begun"
    declare(hub, "verified")
    assert [found(kind) for kind in (StuckKind.STALLED, StuckKind.REFUSED_PACK)] == [[], []]


def test_older_whole_transfer_settles_nothing(
    hub: Hub, hub_clock: SteerableClock, county: County, found: Callable[..., list[Stuck]]
) -> None:
    county.declare(STUDY)
    declare(hub, "verified")
    hub_clock.advance(1)
    declare(hub, "receiving")
    hub_clock.advance(LONG_S)
    assert len(found(StuckKind.STALLED)) == 1


def test_refused_pack_says_why_and_how_many(hub: Hub, county: County, found: Callable[..., list[Stuck]]) -> None:
    county.declare(STUDY)
    grant(hub, declare(hub, "receiving"), state="refused", refusal_code="damaged", refusal_reason="cannot be read")
    (refused,) = found(StuckKind.REFUSED_PACK)
    assert (refused.code, refused.reason, refused.instance_count) == ("damaged", "cannot be read", 2)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        pytest.param(
            "zh",
            (
                "已隔离",
                "双桥镇中心卫生院",
                "文件在中途截断（1 幅）",
                "请该机构技师查看网关隔离区的说明",
                "上传中断",
                "状态：影像上传中",
            ),
            id="zh",
        ),
        pytest.param(
            "en",
            (
                "Set aside",
                "Shuangqiao Central Health Centre",
                "The file ends in the middle (images: 1)",
                "read the note in the gateway&#39;s quarantine",
                "Upload stalled",
                "State: Receiving.",
            ),
            id="en",
        ),
    ],
)
def test_page_says_what_to_do_in_the_readers_language(
    hub: Hub,
    hub_clock: SteerableClock,
    county: County,
    browser_of: Callable[[str], Visitor],
    language: str,
    words: tuple[str, ...],
) -> None:
    case_id = county.declare(STUDY)
    declare(hub, "receiving")
    happens(hub, Hop.QUARANTINED, study_uid="9.9.9", detail={"code": "dataset_truncated"})
    with hub.transaction() as session:
        session.execute(update(Case).where(Case.case_id == case_id).values(due_at=hub.clock() + timedelta(seconds=1)))
    hub_clock.advance(LONG_S)
    browser = browser_of(COORDINATOR)
    browser.get("/coordinator/")
    browser.post("/language", language=language, next="/coordinator/")
    page = browser.get("/coordinator/").text
    assert [word for word in words if word not in page] == []
    assert "/clinic/studies/qinghe-t01/9.9.9" not in page, "there is no page about a study that was never declared"


def test_study_that_nobody_can_read_says_why_in_the_readers_language(
    hub: Hub, county: County, browser_of: Callable[[str], Visitor]
) -> None:
    with hub.transaction() as session:
        session.execute(delete(DutyPeriod))
    county.arrive(STUDY)
    browser = browser_of(TECHNICIAN)
    assert "无人可派：不在班 " in browser.get("/clinic/").text
    browser.post("/language", language="en", next="/")
    addresses = ("/clinic/", f"/clinic/studies/{FIRST_SITE}/{STUDY}")
    assert all("Nobody can be asked: " in (page := browser.get(one).text) and "off duty" in page for one in addresses)
    assert not [one for one in addresses if "无人" in browser.get(one).text]
