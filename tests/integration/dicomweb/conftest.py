"""One county with studies of every kind, served over real HTTP; the tests only read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from reading_queue.db.schema import upgrade
from reading_queue.embedded.postgres import MAINTENANCE_DATABASE, EmbeddedPostgres
from storage.contract.identifiers import new_id
from storage.objects.directory import DirectoryStore
from tests.integration.dicomweb.county import OTHER_SITE, SITE, County, bundled, with_own_uids
from tests.integration.dicomweb.phantom import GB18030_STUDY, gb18030_study
from tests.integration.dicomweb.server import ImageClient, ImageServer
from tests.support.clock import SteerableClock
from tests.support.hub import PUBLIC_URL, make_hub

# What lies in the county: one study of each bundled image, by its name.
PICTURES = (
    "CT_small.dcm",
    "693_J2KI.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "examples_ybr_color.dcm",
    "examples_jpeg2k.dcm",
    "examples_palette.dcm",
    "examples_overlay.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "ExplVR_BigEnd.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "rtdose_expb.dcm",
    "image_dfl.dcm",
)
NOT_PATCHED = frozenset({"image_dfl.dcm"})  # its UIDs are inside a deflated stream


@pytest.fixture(scope="session")
def county(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[County]:
    """The network, and in SITE one study of GB18030_STUDY's three series, which is offered to `reader`."""
    name, folder, clock = f"dicomweb_{new_id()}", tmp_path_factory.mktemp("dicomweb"), SteerableClock()
    admin = sa.create_engine(postgres.url(MAINTENANCE_DATABASE), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine = sa.create_engine(postgres.url(name), hide_parameters=True)
    upgrade(engine)
    store = DirectoryStore(folder / "objects", public_url=PUBLIC_URL, secret=b"s" * 32, clock=clock)
    filled = County(make_hub(engine, store, folder / "hub.key", clock)).build()
    assert filled.arrive(SITE, gb18030_study()) == GB18030_STUDY
    yield filled
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(scope="session")
def pictures(county: County) -> dict[str, bytes]:
    """The files of PICTURES as they were sent to OTHER_SITE, by name."""
    files = {}
    for number, name in enumerate(PICTURES):
        files[name] = bundled(name) if name in NOT_PATCHED else with_own_uids(bundled(name), number)
        county.arrive(OTHER_SITE, [files[name]])
    return files


@pytest.fixture(scope="session")
def server(county: County, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageServer]:
    """The application on a port of its own, with a viewer of three files."""
    assets: Path = tmp_path_factory.mktemp("assets")
    (assets / "viewer").mkdir()
    (assets / "viewer" / "index.html").write_text("<!doctype html><title>viewer</title>")
    (assets / "viewer" / "app.js").write_text("window.app = 1;")
    (assets / "secret.txt").write_text("beside the viewer")
    with ImageServer(county.hub, assets) as running:
        yield running


@pytest.fixture
def as_person(county: County, server: ImageServer) -> Callable[[str], ImageClient]:
    """`as_person(login)` asks as this person."""
    return lambda login: ImageClient(server.url, county.token(login))


@pytest.fixture
def coordinator(as_person: Callable[[str], ImageClient]) -> ImageClient:
    """One who may see everything of the county."""
    return as_person("coordinator")
