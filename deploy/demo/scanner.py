"""Stands for a clinic's scanner: sends each study over one association of its own.

`python deploy/demo/scanner.py --port PORT --called AE --calling AE < STUDIES`, one JSON study a line; prints one JSON
line when an association has ended. A refused instance is sent again until the gateway takes it or the time is up.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime

import pydicom
from pynetdicom import AE, _config
from pynetdicom.presentation import build_context

_config.STORE_SEND_CHUNKED_DATASET = True  # files travel byte for byte
CONNECT_AGAIN_S = 1.0
GIVE_UP_S = 120.0


def main() -> None:
    """Send every study that comes on standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--called", required=True)
    parser.add_argument("--calling", required=True)
    options = parser.parse_args()
    for line in sys.stdin:
        study = json.loads(line)
        accepted, closed_at = send_until_accepted(options, study["files"])
        answer = {"study_uid": study["study_uid"], "accepted": accepted, "sent": len(study["files"])}
        print(json.dumps({**answer, "closed_at": closed_at}), flush=True)


def send_until_accepted(options: argparse.Namespace, files: list[str]) -> tuple[int, str]:
    """Send the files over one association, again over a new one if it broke; return what was accepted and when."""
    remaining, give_up_at = list(files), time.monotonic() + GIVE_UP_S
    while remaining and time.monotonic() < give_up_at:
        remaining = send_once(options, remaining)
        if remaining:
            time.sleep(CONNECT_AGAIN_S)
    return len(files) - len(remaining), datetime.now(UTC).isoformat()


def send_once(options: argparse.Namespace, files: list[str]) -> list[str]:
    """Send the files over one association; return those without a Success."""
    entity = AE(ae_title=options.calling)
    entity.dimse_timeout, entity.acse_timeout = 30, 10
    for sop_class, syntax in sorted({kind_of(file) for file in files}):
        entity.requested_contexts = [*entity.requested_contexts, build_context(sop_class, syntax)]
    association = entity.associate(options.host, options.port, ae_title=options.called)
    if not association.is_established:
        return files
    remaining = []
    for file in files:
        try:
            status = association.send_c_store(file)
        except (RuntimeError, ValueError):  # the association broke under us
            remaining.append(file)
            continue
        if "Status" not in status or status.Status != 0x0000:
            remaining.append(file)
    if association.is_established:
        association.release()
    return remaining


def kind_of(file: str) -> tuple[str, str]:
    """Return the file's SOP class and transfer syntax."""
    meta = pydicom.filereader.read_file_meta_info(file)
    return meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID


if __name__ == "__main__":
    main()
