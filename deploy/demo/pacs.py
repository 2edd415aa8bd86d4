"""Stands for the clinics' PACS: a DICOM listener for each site that keeps what it receives in `DIR/<site>/`.

`python deploy/demo/pacs.py DIR SITE=PORT …`
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification

OUT_OF_RESOURCES = 0xA700


def main() -> None:
    """Listen for every site until the process is told to stop."""
    folder, stop = Path(sys.argv[1]), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    servers = []
    for word in sys.argv[2:]:
        site, port = word.split("=")
        servers.append(listen(folder / site, int(port)))
    stop.wait()
    for server in servers:
        server.shutdown()


def listen(folder: Path, port: int) -> object:
    """Start one site's listener."""
    folder.mkdir(parents=True, exist_ok=True)
    entity = AE(ae_title="CLINIC_PACS")
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(Verification)

    def keep(event: Event) -> int:
        target = folder / f"{event.request.AffectedSOPInstanceUID}.dcm"
        partial = target.with_suffix(".part")
        try:
            with partial.open("wb") as file:
                file.write(event.encoded_dataset())
                file.flush()
                os.fsync(file.fileno())
            partial.rename(target)
        except OSError:
            return OUT_OF_RESOURCES
        return 0x0000

    return entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])


if __name__ == "__main__":
    main()
