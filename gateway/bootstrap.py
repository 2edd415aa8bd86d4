"""Builds one whole gateway and runs it: receiving always, forwarding and returns once it is enrolled.

Durable: spool and journal; see their modules. Volatile: threads and connections. On start the spool is compared with
the journal before anything else, then every part goes on with what the journal says.
"""

from __future__ import annotations

import fcntl
import os
import signal
import ssl
import threading
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Final

import structlog
from prometheus_client.metrics_core import Metric

from gateway.answering import Answering
from gateway.clock import utc_now
from gateway.clock_watch import ClockWatch
from gateway.completeness import Patience
from gateway.completion import CompletionSettings, CompletionWatcher
from gateway.compression import Compressor
from gateway.figures import figures
from gateway.forwarder.keeper import Keeper
from gateway.forwarder.pruner import Pruner, PruningLimits
from gateway.his_orders.listener import OrderListener
from gateway.hub import SigningIdentity
from gateway.identity import load_signing_identity
from gateway.importing import Importer
from gateway.journal.controls import latest_action
from gateway.journal.database import JOURNAL_NAME, Journal
from gateway.journal.identity import Identity
from gateway.journal.recovery import open_sound_journal
from gateway.lanes import requested_by_order
from gateway.link import HubLink, build_client
from gateway.loops import Loop
from gateway.reader import ReaderLink
from gateway.releasing import Releaser
from gateway.returns.retention import DocumentRetention
from gateway.returns.store import DocumentStore
from gateway.scp.server import DicomServer, ScpSettings
from gateway.settings import DicomSettings, GatewaySettings
from gateway.spool.durable import RealFiles
from gateway.spool.rebuild import rebuild
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid
from storage.screens.figures_listener import registry_of, serving_figures
from storage.tls import CertificateUnusable, Credentials, server_context

if TYPE_CHECKING:
    from gateway.console import ConsoleServer

log = structlog.get_logger(__name__)

LOCK_NAME: Final = "serving.lock"
STOP_WITHIN_S: Final = 4.0
ENROLMENT_RECHECK_S: Final = 2.0
IDLE_ONCE_ENROLLED_S: Final = 24 * 3600.0
ACTIONS_EVERY_S: Final = 0.5
NOTICE_EVERY_S: Final = 0.5


def open_journal(settings: GatewaySettings) -> Journal:
    """Open the journal in the spool directory, which is made when it is missing."""
    settings.spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Journal(settings.spool_dir / JOURNAL_NAME)


class SpoolInUse(Exception):
    """Another gateway process serves from this spool; two would send everything twice."""


def hold_spool(spool_dir: Path) -> IO[bytes]:
    """Return the lock of the spool, held until it is closed or the process ends, however it ends.

    Raises:
        SpoolInUse: another process holds it.
    """
    spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = (spool_dir / LOCK_NAME).open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        lock.close()
        raise SpoolInUse(f"another gateway already serves from {spool_dir}") from exc
    return lock


class Gateway:
    """One gateway in one process. `start`, then `stop` once."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._lock = hold_spool(settings.spool_dir)
        self._journal = open_sound_journal(settings.spool_dir / JOURNAL_NAME, utc_now())
        self._files = RealFiles()
        self._spool = Spool(settings.spool_dir, self._files)
        self._keeper = Keeper(self._journal, self._spool, keep=self._keep(), clock=utc_now)
        self._spool.limit(
            floor_bytes=settings.dicom.disk_floor_bytes,
            low_bytes=settings.disk.low_bytes,
            make_room=self._make_room,
        )
        self._link: HubLink | ReaderLink | None = None
        self._link_lock = threading.Lock()
        self._stopping = False
        self._noticed_at = 0.0
        self._action_seen = 0
        self._compressor = Compressor(self._spool, self._journal, self._study_compressed)
        self._watcher = self._build_watcher()
        self._answering = Answering(
            settings, self._spool, self._journal, utc_now, self._watcher.expect, self._watcher.notice_change
        )
        self._server = self._build_server()
        self._importer = self._build_importer()
        self._console = self._build_console() if settings.console.enabled else None
        self._orders = self._build_order_listener()
        self._answering_scrapers = ExitStack()
        self._loops = [
            Loop("importer", self._importer.step),
            Loop("releaser", self._build_releaser().step),
            *self._answering.loops,
            Loop("keeper", self._keeper.step),
            Loop("pruner", self._build_pruner().step),
            Loop("documents-kept", self._build_document_retention().step),
            Loop("enrolment", self._connect_once_enrolled),
            Loop("actions", self._notice_actions),
            Loop("clock", ClockWatch(self._journal, clock=utc_now, on_set_back=self._look_at_everything).step),
        ]

    def start(self) -> int:
        """Mend, listen, forward; return the bound DICOM port. Raises OSError when the port cannot be had."""
        port_file = self._settings.port_file
        if port_file is not None:
            port_file.unlink(missing_ok=True)
        rebuild(self._spool, self._journal, utc_now)
        port = self._server.start()
        self._watcher.start()
        self._compressor.start()
        if self._console is not None:
            self._console.start()
        if self._orders is not None:
            self._orders.start()
        for loop in self._loops:
            loop.start()
        registry = registry_of(self._figures)
        self._answering_scrapers.enter_context(serving_figures(self._settings.metrics.address, registry))
        if port_file is not None:
            _write_port(port_file, port)
        log.info("gateway_started", port=port)
        return port

    def stop(self) -> bool:
        """Stop everything and return whether every thread has ended; what was acknowledged is safe at any moment."""
        deadline = time.monotonic() + STOP_WITHIN_S
        self._answering_scrapers.close()
        self._importer.stop()
        if self._orders is not None:
            self._orders.stop()
        for loop in self._loops:
            loop.stop()
        self._compressor.stop()
        with self._link_lock:
            self._stopping = True
            link = self._link
        if link is not None:
            link.stop()
        if self._console is not None:
            self._console.stop()
        receiving = threading.Thread(target=self._stop_receiving, name="stop-receiving", daemon=True)
        receiving.start()
        ended = link.join(deadline) if link is not None else True
        receiving.join(max(0.0, deadline - time.monotonic()))
        ended &= self._compressor.join(max(0.0, deadline - time.monotonic()))
        ended &= not receiving.is_alive()
        ended &= self._orders is None or self._orders.join(max(0.0, deadline - time.monotonic()))
        ended &= self._console is None or self._console.join(max(0.0, deadline - time.monotonic()))
        if ended:
            self._journal.close()
            self._lock.close()  # a thread that hangs keeps it until the process ends
        log.info("gateway_stopped", in_time=ended)
        return ended

    def _build_link(self, identity: Identity, signing: SigningIdentity) -> HubLink | ReaderLink:
        if self._settings.mode == "reader":
            return ReaderLink(self._settings, self._journal, build_client(self._settings, signing), self._spool)
        return HubLink(self._settings, self._journal, self._spool, identity, signing, expect=self._watcher.expect)

    def _figures(self) -> list[Metric]:
        return figures(self._journal, self._spool, self._settings.dicom.disk_floor_bytes, utc_now())

    def _stop_receiving(self) -> None:
        self._server.stop()
        self._watcher.stop()

    def _connect_once_enrolled(self) -> float:
        """Begin to talk to the hub as soon as there is an identity: `enrol` may come while the gateway serves.

        A key file that cannot be used is told in the log and by `check`, and never keeps scanners from sending.
        """
        with self._link_lock:
            if self._link is None and not self._stopping:
                loaded = load_signing_identity(self._journal, self._settings.spool_dir)
                if loaded is None:
                    return ENROLMENT_RECHECK_S
                self._link = self._build_link(*loaded)
                self._link.start()
                log.info("gateway_connected", site_id=loaded[0].site_id, gateway_id=loaded[0].gateway_id)
        return IDLE_ONCE_ENROLLED_S

    def _notice_actions(self) -> float:
        """Have what people ask for, from whichever process, take effect within a second."""
        latest = latest_action(self._journal)
        if latest != self._action_seen:
            self._action_seen = latest
            self._look_at_everything()
        return ACTIONS_EVERY_S

    def _look_at_everything(self) -> None:
        self._watcher.notice_change()
        link = self._link
        if link is not None:
            link.actions_asked()

    def _wake_forwarder(self) -> None:
        link = self._link
        if link is not None:
            link.study_became_ready()

    def _make_room(self, wanted_bytes: int) -> int:
        """Have what is only kept go: confirmed studies, then copies of ended claims."""
        freed_bytes = self._keeper.make_room(wanted_bytes)
        link = self._link
        if isinstance(link, ReaderLink) and freed_bytes < wanted_bytes:
            freed_bytes += link.make_room(wanted_bytes - freed_bytes)
        return freed_bytes

    def _keep(self) -> timedelta:
        return timedelta(days=self._settings.keep_days)

    def _build_pruner(self) -> Pruner:
        disk = self._settings.disk
        return Pruner(
            self._journal,
            self._spool,
            PruningLimits(
                journal_keep=timedelta(days=disk.journal_days),
                quarantine_keep=timedelta(days=disk.quarantine_days),
                quarantine_bytes_max=disk.quarantine_bytes_max,
            ),
            clock=utc_now,
        )

    def _build_document_retention(self) -> DocumentRetention:
        keep = timedelta(days=self._settings.disk.document_days)
        store = DocumentStore(self._settings.spool_dir, self._files)
        return DocumentRetention(self._journal, store, keep=keep, clock=utc_now)

    def _build_watcher(self) -> CompletionWatcher:
        dicom = self._settings.dicom
        patience = Patience(
            self._settings.quiet_period_s,
            dicom.open_association_max_s,
            self._settings.open_step_max_s,
            self._settings.missing_instances_max_s,
        )
        lanes = CompletionSettings(patience, dicom.to_lanes(), requested_by_order)
        return CompletionWatcher(
            self._spool, self._journal, lanes, utc_now, self._wake_forwarder, self._compressor.is_settled
        )

    def _build_server(self) -> DicomServer:
        dicom = self._settings.dicom
        tls = _make_listener_tls(dicom)
        return DicomServer(
            ScpSettings(
                ae_title=dicom.ae_title,
                host=dicom.host,
                port=dicom.port,
                allowed_calling_ae_titles=frozenset(),
                associations_max=dicom.associations_max,
                object_bytes_max=dicom.object_bytes_max,
                require_called_ae_title=dicom.require_called_ae_title,
                peers=self._settings.peers,
                connections_per_address_max=dicom.connections_per_address_max,
                tls=tls,
                tls_port=(dicom.tls.port or 0) if dicom.tls is not None else 0,
            ),
            self._spool,
            self._journal,
            utc_now,
            self._instance_stored,
            self._association_ended,
            self._answering.services,
        )

    def _build_importer(self) -> Importer:
        return Importer(
            self._journal,
            self._server.receiver,
            self._server.begin_file,
            object_bytes_max=self._settings.dicom.object_bytes_max,
            clock=utc_now,
            on_end=self._association_ended,
        )

    def _build_releaser(self) -> Releaser:
        return Releaser(
            self._journal,
            self._spool,
            self._server.receiver,
            object_bytes_max=self._settings.dicom.object_bytes_max,
            clock=utc_now,
            on_end=self._association_ended,
        )

    def _build_order_listener(self) -> OrderListener | None:
        """Return the listener for the HIS's orders; a gateway in reader mode has none."""
        if not self._settings.hl7.enabled or self._settings.mode != "site":
            return None
        return OrderListener(self._settings, self._journal, clock=utc_now)

    def _build_console(self) -> ConsoleServer:
        from gateway.console import ConsoleServer
        from gateway.console.keys import Desk

        return ConsoleServer(
            Desk(
                settings=self._settings,
                journal=self._journal,
                spool=self._spool,
                documents=DocumentStore(self._settings.spool_dir, self._files),
                clock=utc_now,
            )
        )

    def _instance_stored(self, _study_uid: Uid) -> None:
        """Have the watcher learn of new studies, but not for each of a thousand slices: it looks again by itself."""
        self._compressor.notice_arrival()
        now = time.monotonic()
        if now - self._noticed_at >= NOTICE_EVERY_S:
            self._noticed_at = now
            self._watcher.notice_change()

    def _study_compressed(self) -> None:
        self._watcher.notice_change()

    def _association_ended(self) -> None:
        self._compressor.notice_silence()
        self._watcher.notice_change()
        link = self._link
        if link is not None:
            link.custody_grew()


def serve(settings: GatewaySettings) -> None:
    """Run a gateway until SIGTERM or SIGINT."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    gateway = Gateway(settings)
    gateway.start()
    stop.wait()
    if not gateway.stop():
        os._exit(0)  # a thread hangs in the network; all that counts is on disk


def _make_listener_tls(dicom: DicomSettings) -> ssl.SSLContext | None:
    """Return the TLS port's context. Files that cannot be used never keep scanners from the plain port: see `check`."""
    if dicom.tls is None or dicom.tls.port is None:
        return None
    try:
        return server_context(
            Credentials.of(dicom.tls), require_client_certificate=dicom.tls.require_client_certificate
        )
    except CertificateUnusable:
        log.exception("dicom_tls_unusable")
        return None


def _write_port(path: Path, port: int) -> None:
    """Tell the bound port to whoever waits for the file; it appears whole."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(f"{port}\n", encoding="ascii")
    partial.rename(path)
