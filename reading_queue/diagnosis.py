"""`counterpart-hub check` and `status`: every dependency tried, what is wrong named, and how to mend it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError

from reading_queue import bootstrap
from reading_queue.db.schema import SchemaOutdated, check_current
from reading_queue.embedded import EmbeddedServerError
from reading_queue.embedded.launch import find_method
from reading_queue.embedded.programs import find_postgres_program, find_redis_program
from reading_queue.errors import HubError
from reading_queue.services.access.keys import KeyFileDamaged
from reading_queue.services.health import Unhealthy, check_queues, check_stored_bytes, count_dead_jobs
from reading_queue.services.hub import Hub
from reading_queue.settings import HubSettings
from reading_queue.worker.broker import BrokerUnavailable
from storage.objects.protocol import ObjectStoreError
from storage.tls import CertificateUnusable, Credentials, explain_credentials

FREE_BYTES_MIN = 2 * 1024**3
_EXPECTED = (
    OperationalError,
    ObjectStoreError,
    BrokerUnavailable,
    SchemaOutdated,
    Unhealthy,
    HubError,
    KeyFileDamaged,
    EmbeddedServerError,
    bootstrap.HubNotRunning,
    CertificateUnusable,
    OSError,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, in words."""

    name: str
    fine: bool
    words: str


def check_machine(settings: HubSettings) -> Iterator[Finding]:
    """Yield what can be said without a running hub."""
    yield _try("data directory", lambda: _data_directory(settings))
    if settings.database.url is None:
        yield _try("embedded PostgreSQL", _embedded_postgres)
    if settings.broker.url is None:
        yield _try("embedded Redis", lambda: str(find_redis_program()))
    if settings.hl7.enabled:
        yield _try("order messages", lambda: _hl7_certificate(settings))
    for part in ("viewer", "fonts", "vendor"):
        folder = settings.assets_dir / part
        words = (
            str(folder) if folder.is_dir() else f"{folder} is missing: build it with `make prepare`, or set assets_dir"
        )
        yield Finding(f"assets: {part}", folder.is_dir(), words)


def check_running(settings: HubSettings) -> Iterator[Finding]:
    """Yield what a running hub's dependencies say."""
    try:
        hub = bootstrap.build_hub(settings)
        checks = bootstrap.health_checks(hub, settings)
    except _EXPECTED as exc:
        yield Finding(name="hub", fine=False, words=_words(exc))
        return
    for name, check in checks.items():
        yield _try(name, check)
    yield _try("schema", lambda: _schema(hub))
    yield _try("dead jobs", lambda: _dead_jobs(hub))
    yield _try("queues", lambda: check_queues(hub))
    yield _try("stored bytes", lambda: check_stored_bytes(hub))
    hub.engine.dispose()


def children(settings: HubSettings) -> list[dict[str, object]]:
    """Return the children of the running supervisor, with `name`, `pid` and `restarts`; empty when none runs."""
    path = settings.data_dir / "run" / "children.json"
    return list(json.loads(path.read_text())) if path.exists() else []


def _try(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, fine=True, words=check())
    except _EXPECTED as exc:
        return Finding(name, fine=False, words=_words(exc))


def _words(exc: Exception) -> str:
    if isinstance(exc, OperationalError):
        return "the database does not answer: is it running, are [database] url, login and password right?"
    if isinstance(exc, BrokerUnavailable):
        return f"the broker does not answer ({exc}): is it running, is [broker] url right?"
    return str(exc)


def _data_directory(settings: HubSettings) -> str:
    existing = settings.data_dir
    while not existing.exists():
        existing = existing.parent
    probe = existing / ".counterpart-check"
    probe.touch()
    probe.unlink()
    free = shutil.disk_usage(existing).free
    if free < FREE_BYTES_MIN:
        raise Unhealthy(f"{settings.data_dir}: only {free / 1024**3:.1f} GiB are free; make room")
    return f"{settings.data_dir}, {free / 1024**3:.0f} GiB free"


def _hl7_certificate(settings: HubSettings) -> str:
    hl7 = settings.hl7
    bootstrap.build_hl7_tls(settings)
    if hl7.certificate_file is None or hl7.key_file is None:
        return "off"
    words = explain_credentials(Credentials(hl7.certificate_file, hl7.key_file, hl7.ca_file), bootstrap.utc_now())
    return f"{len(hl7.senders)} senders on {hl7.host} port {hl7.port}, {words}"


def _embedded_postgres() -> str:
    program = find_postgres_program("postgres")
    return f"{program}, {find_method().value}"


def _schema(hub: Hub) -> str:
    check_current(hub.engine)
    return "current"


def _dead_jobs(hub: Hub) -> str:
    count = count_dead_jobs(hub)
    if count:
        raise Unhealthy(f"{count} jobs failed for good; `counterpart-hub jobs dead` shows why")
    return "none"
