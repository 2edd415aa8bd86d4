"""Builds one whole gateway and runs it: receiving always, forwarding and returns once it is enrolled.

Durable: spool and journal; see their modules. Volatile: threads and connections. On start the spool is compared with
the journal before anything else, then every part goes on with what the journal says.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from gateway.clock import utc_now
from gateway.completeness import Patience
from gateway.completion import CompletionSettings, CompletionWatcher
from gateway.forwarder.keeper import Keeper
from gateway.identity import load_signing_identity
from gateway.journal.database import Journal
from gateway.link import HubLink
from gateway.loops import Loop
from gateway.scp.server import DicomServer, ScpSettings
from gateway.settings import GatewaySettings
from gateway.spool.durable import RealFiles
from gateway.spool.rebuild import rebuild
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid

log = structlog.get_logger(__name__)

JOURNAL_NAME: Final = "journal.sqlite"
STOP_WITHIN_S: Final = 4.0
ENROLMENT_RECHECK_S: Final = 2.0
IDLE_ONCE_ENROLLED_S: Final = 24 * 3600.0
NOTICE_EVERY_S: Final = 0.5


def open_journal(settings: GatewaySettings) -> Journal:
    """Open the journal in the spool directory, which is made when it is missing."""
    settings.spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Journal(settings.spool_dir / JOURNAL_NAME)


class Gateway:
    """One gateway in one process. `start`, then `stop` once."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._journal = open_journal(settings)
        self._files = RealFiles()
        self._spool = Spool(settings.spool_dir, self._files)
        self._link: HubLink | None = None
        self._link_lock = threading.Lock()
        self._stopping = False
        self._noticed_at = 0.0
        self._watcher = self._build_watcher()
        self._server = self._build_server()
        self._loops = [
            Loop("keeper", Keeper(self._journal, self._spool, keep=self._keep(), clock=utc_now).step),
            Loop("enrolment", self._connect_once_enrolled),
        ]

    def start(self) -> int:
        """Mend, listen, forward; return the bound DICOM port. Raises OSError when the port cannot be had."""
        port_file = self._settings.port_file
        if port_file is not None:
            port_file.unlink(missing_ok=True)
        rebuild(self._spool, self._journal, utc_now)
        port = self._server.start()
        self._watcher.start()
        for loop in self._loops:
            loop.start()
        if port_file is not None:
            _write_port(port_file, port)
        log.info("gateway_started", port=port)
        return port

    def stop(self) -> bool:
        """Stop everything and return whether every thread has ended; what was acknowledged is safe at any moment."""
        deadline = time.monotonic() + STOP_WITHIN_S
        for loop in self._loops:
            loop.stop()
        with self._link_lock:
            self._stopping = True
            link = self._link
        if link is not None:
            link.stop()
        receiving = threading.Thread(target=self._stop_receiving, name="stop-receiving", daemon=True)
        receiving.start()
        ended = link.join(deadline) if link is not None else True
        receiving.join(max(0.0, deadline - time.monotonic()))
        ended &= not receiving.is_alive()
        log.info("gateway_stopped", in_time=ended)
        return ended

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
                self._link = HubLink(self._settings, self._journal, self._spool, *loaded)
                self._link.start()
                log.info("gateway_connected", site_id=loaded[0].site_id, gateway_id=loaded[0].gateway_id)
        return IDLE_ONCE_ENROLLED_S

    def _wake_forwarder(self) -> None:
        link = self._link
        if link is not None:
            link.study_became_ready()

    def _keep(self) -> timedelta:
        return timedelta(days=self._settings.keep_days)

    def _build_watcher(self) -> CompletionWatcher:
        dicom = self._settings.dicom
        patience = Patience(self._settings.quiet_period_s, dicom.open_association_max_s)
        lanes = CompletionSettings(patience, dict(dicom.lanes))
        return CompletionWatcher(self._spool, self._journal, lanes, utc_now, self._wake_forwarder)

    def _build_server(self) -> DicomServer:
        dicom = self._settings.dicom
        return DicomServer(
            ScpSettings(
                ae_title=dicom.ae_title,
                host=dicom.host,
                port=dicom.port,
                allowed_calling_ae_titles=frozenset(dicom.allowed_calling_ae_titles),
                associations_max=dicom.associations_max,
                object_bytes_max=dicom.object_bytes_max,
                disk_floor_bytes=dicom.disk_floor_bytes,
            ),
            self._spool,
            self._journal,
            utc_now,
            self._instance_stored,
            self._association_ended,
        )

    def _instance_stored(self, _study_uid: Uid) -> None:
        """Have the watcher learn of new studies, but not for each of a thousand slices: it looks again by itself."""
        now = time.monotonic()
        if now - self._noticed_at >= NOTICE_EVERY_S:
            self._noticed_at = now
            self._watcher.notice_change()

    def _association_ended(self) -> None:
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


def _write_port(path: Path, port: int) -> None:
    """Tell the bound port to whoever waits for the file; it appears whole."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(f"{port}\n", encoding="ascii")
    partial.rename(path)
