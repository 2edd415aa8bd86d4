"""QIDO-RS: searches for studies, series and instances (PS3.18 section 10.6).

A search that finds nothing answers an empty list. What is left out of an answer, or not done, is said in a `Warning`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from aiohttp import web
from sqlalchemy.orm import Session

from storage.catalogue.shown import Also
from storage.catalogue.tables import Series, Study
from storage.dicomweb.catalogue_queries import MaySee, get_study, parse_address_uid
from storage.dicomweb.json_rows import Attribute, attributes_of, rows_json
from storage.dicomweb.searching.finding import Few, Within, find_page
from storage.dicomweb.searching.keys import Level
from storage.dicomweb.searching.parsing import Search, parse_search
from storage.dicomweb.service import DICOM_JSON, Service, warning_of

ALL: Final = "all"


class Qido:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def search_studies(self, request: web.Request) -> web.Response:
        """Answer the studies that match the query and that the caller may see."""
        return await self._answer(request, Level.STUDY)

    async def search_series(self, request: web.Request) -> web.Response:
        """Answer the series that match, of one study or of all that the caller may see."""
        return await self._answer(request, Level.SERIES)

    async def search_instances(self, request: web.Request) -> web.Response:
        """Answer the instances that match, of a series, of a study or of all studies that the caller may see."""
        return await self._answer(request, Level.INSTANCE)

    async def _answer(self, request: web.Request, level: Level) -> web.Response:
        access, address = self._service.access, dict(request.match_info)
        may_see, few, also = access.may_see(request), partial(access.select_seen, request), access.also_shown(request)
        search = parse_search(request.query.items(), level, of_study="study" in address)
        attributes = attributes_of(level, from_level=_level_of_address(address))
        studies_url = str(request.app.router["dicomweb.studies"].url_for())

        def find() -> tuple[bytes, bool]:
            with self._service.transaction() as session:
                page = find_page(session, search, _within(session, may_see, few, address, also))
            rows = (replace(row, retrieve_url=f"{studies_url}/{row.study.study_uid}") for row in page.rows)
            return json.dumps(rows_json(rows, attributes), ensure_ascii=False).encode(), page.has_more

        body, has_more = await self._service.run(find)
        response = web.Response(body=body, content_type=DICOM_JSON, headers={"Cache-Control": "no-store"})
        response.enable_compression()
        for warning in warnings_of(search, attributes, has_more=has_more):
            response.headers.add("Warning", warning_of(warning))
        return response


def warnings_of(search: Search, attributes: tuple[Attribute, ...], *, has_more: bool) -> list[str]:
    """Return in words what an answer leaves out (PS3.18 sections 8.3.4.2 to 8.3.4.4)."""
    found = []
    if has_more:
        found.append(f"There are additional results that can be requested, with offset={search.offset + search.limit}.")
    given = {name for attribute in attributes for name in (attribute.keyword, attribute.tag)}
    absent = [name for name in search.fields if name != ALL and name not in given and name.upper() not in given]
    if absent:
        found.append(f"Not all attributes of includefield are given. Absent: {', '.join(absent[:16])}.")
    return found


def _within(
    session: Session, may_see: MaySee, few: Callable[[], Few | None], address: Mapping[str, str], also: Also
) -> Within:
    """Return what may be found: what the caller may see, or what lies inside a study of it.

    Raises:
        StudyNotFound: the study is not there, or not theirs to see.
        StudyAmbiguous: two sites' studies.
    """
    if "study" not in address:
        return Within(lambda: (may_see(Study.site_id, Study.study_uid),), few, also)
    of_study = Study.study_id == get_study(session, may_see, address["study"], also).study.study_id
    if "series" not in address:
        return Within(lambda: (of_study,), also=also)
    of_series = Series.series_uid == parse_address_uid(address["series"])
    return Within(lambda: (of_study, of_series), also=also)


def _level_of_address(address: Mapping[str, str]) -> Level:
    """Return from which level on an answer tells everything: an address inside a study is not told of the study."""
    if "series" in address:
        return Level.INSTANCE
    return Level.SERIES if "study" in address else Level.STUDY
