"""Builds the hub from its settings: the only place that names concrete adapters.

Nothing here connects to anything by itself: a database or broker that is down is met, and reported, by its first use.
"""

from __future__ import annotations

import http.client
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from reading_queue.db.connections import ping_after_rest
from reading_queue.embedded.directories import make_socket_directory, run_directory
from reading_queue.embedded.postgres import EmbeddedPostgres, find_postgres_url
from reading_queue.embedded.redis import EmbeddedRedis, find_redis_url
from reading_queue.heartbeat import Heartbeat
from reading_queue.hl7.watched_senders import WatchedSenders
from reading_queue.services.access.keys import KeyFile
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.senders import OrderSender
from reading_queue.settings import HubSettings, load_order_senders, runtime_dir
from storage.configuration import ConfigurationError
from storage.objects.protocol import ObjectStore

if TYPE_CHECKING:  # each role and command loads only its own part
    from aiohttp import web
    from celery import Celery

    from reading_queue.embedded.supervisor import Server, Supervisor
    from reading_queue.hl7.listener import OrderListener
    from reading_queue.worker.runtime import RuntimePerProcess
    from storage.screens.offload import Offload
    from storage.tls import WatchedContext

ROLES: Final = ("web", "worker", "scheduler")
HL7_ROLE: Final = "hl7"  # beside them where [hl7] is enabled
READY_CHECK_S: Final = 2.0


class HubNotRunning(Exception):
    """The embedded servers of this data directory are not running."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(
            f"no hub is running on {data_dir}: start one with `counterpart-hub serve`, or set [database] url and "
            "[broker] url to servers of your own"
        )


def utc_now() -> datetime:
    """Return the time: the hub's one clock."""
    return datetime.now(UTC)  # noqa: TID251 -- the edge that hands the clock to everything else


def database_url(settings: HubSettings) -> sa.URL:
    """Return the database's address; raises HubNotRunning when it is embedded and not running."""
    if settings.database.url is not None:
        return sa.make_url(settings.database.url.get_secret_value())
    url = find_postgres_url(settings.data_dir)
    if url is None:
        raise HubNotRunning(settings.data_dir)
    return url


def broker_url(settings: HubSettings) -> str:
    """Return the broker's address as Celery writes it; raises HubNotRunning when it is embedded and not running."""
    if settings.broker.url is not None:
        return settings.broker.url.get_secret_value()
    url = find_redis_url(settings.data_dir)
    if url is None:
        raise HubNotRunning(settings.data_dir)
    return url


def build_engine(settings: HubSettings) -> sa.Engine:
    """Return an engine that shows no parameters in errors and replaces connections that a restart has cut."""
    engine = sa.create_engine(
        database_url(settings), hide_parameters=True, pool_size=settings.database.connections_max, max_overflow=0
    )
    ping_after_rest(engine)
    return engine


def build_objects(settings: HubSettings, keys: KeyFile, public_url: str) -> ObjectStore:
    """Return the object store of the settings."""
    objects = settings.objects
    if objects.kind == "directory":
        from storage.objects.directory import DirectoryStore

        return DirectoryStore(
            settings.objects_dir, public_url=public_url, secret=keys.derive("presigned urls"), clock=utc_now
        )
    from storage.objects.s3 import S3Store
    from storage.objects.sigv4 import S3Credentials

    if objects.secret_key_file is None:
        raise ConfigurationError(["objects.secret_key_file: is missing"])
    secret_key = objects.secret_key_file.read_text(encoding="utf-8").strip()
    return S3Store(
        objects.endpoint,
        objects.bucket,
        S3Credentials(objects.access_key, secret_key, objects.region),
        clock=utc_now,
        secure=objects.secure,
        public_endpoint=objects.public_endpoint,
        encryption=objects.encryption,
    )


def build_hub(settings: HubSettings, *, public_url: str | None = None) -> Hub:
    """Return the hub; `public_url` is where the web role listens, used when the settings name no address."""
    engine = build_engine(settings)  # first: a command that finds no hub must not leave a key file of its own behind
    keys = KeyFile(settings.key_file)
    address = settings.public_url or public_url or known_public_url(settings)
    return Hub(
        engine=engine,
        objects=build_objects(settings, keys, address),
        keys=keys,
        policy=settings.policy,
        network_name=settings.network.name,
        audience=settings.network.audience,
        public_url=address,
        clock=utc_now,
        order_senders=_build_senders(settings),
    )


def _build_senders(settings: HubSettings) -> Mapping[str, OrderSender]:
    """Return who may send order messages, as the settings' file names them at each moment."""
    if settings.file is None:
        return settings.hl7.order_senders()
    return WatchedSenders(settings.file, load_order_senders)


def port_file(settings: HubSettings) -> Path:
    """Return the file in which the web role writes its port."""
    return run_directory(settings.data_dir) / "web.port"


def hl7_port_file(settings: HubSettings) -> Path:
    """Return the file in which the listener for order messages writes its port."""
    return run_directory(settings.data_dir) / "hl7.port"


def roles_of(settings: HubSettings) -> tuple[str, ...]:
    """Return the roles that one machine runs."""
    return (*ROLES, HL7_ROLE) if settings.hl7.enabled else ROLES


def heartbeat(settings: HubSettings, role: str) -> Heartbeat:
    """Return how this role tells the supervisor of the same data directory that it lives."""
    return Heartbeat(run_directory(settings.data_dir) / f"{role}.heartbeat")


def known_public_url(settings: HubSettings) -> str:
    """Return how gateways and browsers reach the hub, as far as this process can know."""
    if settings.public_url is not None:
        return settings.public_url
    path = port_file(settings)
    port = settings.web.port or (int(path.read_text()) if path.exists() else 0)
    host = f"[{settings.web.host}]" if ":" in settings.web.host else settings.web.host
    return f"http://{host}:{port}"


def build_celery(settings: HubSettings) -> tuple[Celery, RuntimePerProcess]:
    """Return the Celery application and what gives its jobs their hub."""
    from reading_queue.worker.celery_app import make_celery
    from reading_queue.worker.runtime import Runtime, RuntimePerProcess

    process = RuntimePerProcess(lambda: Runtime(build_hub(settings), settings.fonts_dir))
    return make_celery(broker_url(settings), process), process


def health_checks(hub: Hub, settings: HubSettings) -> dict[str, Callable[[], str]]:
    """Return the checks of every dependency; each returns words or raises."""
    from reading_queue.services import health
    from reading_queue.worker.broker import check_broker

    return {
        "database": lambda: health.check_database(hub),
        "broker": lambda: check_broker(broker_url(settings)),
        "objects": lambda: health.check_objects(hub),
        "outbox": lambda: health.check_outbox(hub),
    }


async def build_web(settings: HubSettings, hub: Hub) -> web.Application:
    """Return the whole web application: desks and API, and beside them what is mounted here."""
    from reading_queue.web.app import build_app
    from reading_queue.web.deposit_access import DepositAccess
    from reading_queue.web.gateway_api import PREFIX, build_gateway_api
    from reading_queue.web.health import health_route
    from reading_queue.web.image_access import ImageAccess
    from reading_queue.web.objects import build_objects_app
    from reading_queue.web.offload import THREADS_DEFAULT
    from reading_queue.web.request_counts import RequestCounts, answering_scrapers
    from reading_queue.web.viewer import build_viewer
    from storage.dicomweb.addresses import ROOT
    from storage.dicomweb.app import build_dicomweb
    from storage.dicomweb.reception import ReceptionRoom
    from storage.dicomweb.stow import AT_ONCE_MAX, Stow
    from storage.objects.directory import DirectoryStore
    from storage.screens.offload import Offload

    run, run_deposits = Offload(THREADS_DEFAULT), Offload(AT_ONCE_MAX, name="deposits")
    room = ReceptionRoom(
        settings.deposits_dir,
        bytes_max=hub.policy.deposit_bytes_max,
        floor_bytes=hub.policy.deposit_disk_floor_bytes,
    )
    stow = Stow(DepositAccess(), room, run_deposits)
    # Everything that answers below a prefix of its own, by its own rules of access.
    mounts: list[tuple[str, web.Application]] = [
        (PREFIX, build_gateway_api(hub, run)),
        (ROOT, build_dicomweb(hub.engine, hub.objects, run, ImageAccess(), stow)),
        ("/viewer", build_viewer(settings.assets_dir)),
    ]
    if isinstance(hub.objects, DirectoryStore):
        mounts.append(("/objects", build_objects_app(hub.objects, run)))
    app = build_app(hub, assets_dir=settings.assets_dir, mounts=mounts, run=run)
    counts = RequestCounts()
    app.middlewares.insert(0, counts.middleware())
    app.cleanup_ctx.append(partial(answering_scrapers, settings.metrics.web, counts))
    app.add_routes([health_route(health_checks(hub, settings), run)])

    async def close(_app: web.Application) -> None:
        run.close()
        run_deposits.close()
        room.close()
        hub.engine.dispose()

    app.on_cleanup.append(close)
    return app


def run_worker_role(settings: HubSettings) -> int:
    """Run the jobs of the queues that the settings name until SIGTERM, and return the exit status."""
    from reading_queue.worker.celery_app import run_crew
    from reading_queue.worker.crews import Member, SharedHeartbeat, run_members
    from reading_queue.worker.jobs import preload
    from reading_queue.worker.presence import tell_of

    celery, process = build_celery(settings)
    preload()
    heard = {crew: SharedHeartbeat() for crew in settings.worker.crews}
    members = [
        Member(crew.name, partial(run_crew, celery, process, crew, beat=heard_from.beat), heard_from, crew.niceness)
        for crew, heard_from in heard.items()
    ]
    own = SharedHeartbeat()
    members.append(Member("presence", partial(tell_of, process, heard, own.beat, settings.metrics.worker), own))
    return run_members(members, beat=heartbeat(settings, "worker").beat)


def build_hl7_tls(settings: HubSettings) -> WatchedContext:
    """Return the context of the listener for order messages, which lets nobody in without a certificate.

    Raises:
        ConfigurationError: the listener is not enabled.
        CertificateUnusable: a file cannot be used.
    """
    from storage.tls import Credentials, WatchedContext

    hl7 = settings.hl7
    if not hl7.enabled or hl7.certificate_file is None or hl7.key_file is None or hl7.ca_file is None:
        raise ConfigurationError(["hl7.enabled: is false; orders are taken over mutual TLS alone, see [hl7]"])
    return WatchedContext(Credentials(hl7.certificate_file, hl7.key_file, hl7.ca_file))


def build_hl7(settings: HubSettings, hub: Hub, tls: WatchedContext, run: Offload) -> OrderListener:
    """Return the listener for order messages."""
    from reading_queue.hl7.listener import Limits, OrderListener

    hl7 = settings.hl7
    limits = Limits(
        message_bytes_max=hl7.message_bytes_max,
        connections_max=hl7.connections_max,
        connections_per_sender_max=hl7.connections_per_sender_max,
        idle_s=hl7.idle_s,
        message_s=hl7.message_s,
    )
    return OrderListener(hub, tls, limits, run)


def run_scheduler_role(settings: HubSettings, stop: threading.Event) -> None:
    """Relay and sweep until `stop` is set."""
    from reading_queue.services.motion.figures import figures
    from reading_queue.worker.celery_app import Publisher, is_redis
    from reading_queue.worker.dead_letters import DeadLetters
    from reading_queue.worker.jobs import FIRST, JOBS, TOGETHER_MAX
    from reading_queue.worker.relay import Relay
    from reading_queue.worker.scheduler import run_scheduler
    from storage.screens.figures_listener import registry_of, serving_figures

    hub = build_hub(settings)
    celery, _ = build_celery(settings)
    registry = registry_of(lambda: figures(hub))
    with Publisher(celery) as publisher, serving_figures(settings.metrics.scheduler, registry):
        relay = Relay(hub.engine, publisher.publish, hub.clock, TOGETHER_MAX, FIRST)
        letters = None
        if not is_redis(celery.conf.broker_url):
            letters = DeadLetters(hub, celery.connection_for_read, JOBS)
        run_scheduler(hub, relay, stop, beat=heartbeat(settings, "scheduler").beat, dead_letters=letters)
    hub.engine.dispose()


def migrate(settings: HubSettings) -> None:
    """Bring the database to the newest revision."""
    from reading_queue.db.schema import upgrade

    engine = build_engine(settings)
    try:
        upgrade(engine)
    finally:
        engine.dispose()


def prepare(settings: HubSettings) -> None:
    """Do what must be done once before the roles start: the schema, and uploads that a crash has cut off."""
    from storage.objects.directory import DirectoryStore

    migrate(settings)
    if settings.objects.kind == "directory":
        hub = build_hub(settings)
        if isinstance(hub.objects, DirectoryStore):
            hub.objects.remove_unfinished_uploads()
        hub.engine.dispose()


def build_supervisor(settings: HubSettings, config: Path | None, listening: socket.socket) -> Supervisor:
    """Return the supervisor of the embedded servers that the settings ask for, and of all roles.

    `listening` is handed to the web role at each of its starts.
    """
    from reading_queue.embedded.role import RoleProcess
    from reading_queue.embedded.supervisor import Supervisor

    def role_process(role: str) -> RoleProcess:
        command, beat = _role_command(role, config), heartbeat(settings, role)
        if role != "web":
            return RoleProcess(role, command, beat)
        descriptor = listening.fileno()
        return RoleProcess(role, [*command, "--socket", str(descriptor)], beat, descriptors=[descriptor])

    return Supervisor(
        run_directory(settings.data_dir),
        servers=build_servers(settings),
        prepare=lambda: prepare(settings),
        roles=[role_process(role) for role in roles_of(settings)],
        is_ready=lambda: is_ready(settings),
    )


def build_servers(settings: HubSettings) -> list[Server]:
    """Return the embedded servers that stand for what the settings leave out."""
    servers: list[Server] = []
    if settings.database.url is not None and settings.broker.url is not None:
        return servers
    sockets = make_socket_directory(settings.data_dir, runtime_dir=runtime_dir())
    if settings.database.url is None:
        servers.append(EmbeddedPostgres(settings.data_dir, sockets))
    if settings.broker.url is None:
        servers.append(EmbeddedRedis(settings.data_dir, sockets))
    return servers


def is_ready(settings: HubSettings) -> bool:
    """Return whether the web role answers that all is well."""
    if not port_file(settings).exists():
        return False
    port = int(port_file(settings).read_text())
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.web.host, settings.web.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, port, timeout=READY_CHECK_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (http.client.HTTPException, OSError):
        return False
    finally:
        connection.close()


def _role_command(role: str, config: Path | None) -> list[str]:
    chosen = ["--config", str(config)] if config is not None else []
    return [sys.executable, "-m", "reading_queue", *chosen, "serve", role]
