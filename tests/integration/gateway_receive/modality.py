"""Modalities: pynetdicom's SCU sending files verbatim, and DCMTK's tools."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE
from pynetdicom.association import Association

DCMTK_ENVIRONMENT = os.environ | {"TCP_NODELAY": "1"}


@contextmanager
def association(port: int, paths: Sequence[Path], calling: str = "CT1") -> Iterator[Association]:
    """Associate for exactly the contexts of these files."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    for sop_class, syntax in sorted({_context(path) for path in paths}):
        ae.add_requested_context(sop_class, syntax)
    opened = ae.associate("127.0.0.1", port, ae_title="GATEWAY")
    connection = opened.dul.socket.socket
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()
        if connection is not None:  # pynetdicom forgets to close it when the peer is killed
            connection.close()


def send(port: int, *paths: Path, calling: str = "CT1") -> list[int]:
    """Send the files on one association, their datasets byte by byte; return the statuses."""
    return [answer.Status for answer in answers(port, *paths, calling=calling)]


def answers(port: int, *paths: Path, calling: str = "CT1") -> list[Dataset]:
    with association(port, paths, calling) as opened:
        assert opened.is_established, "association was not accepted"
        return [opened.send_c_store(path) for path in paths]


def dataset_sha256(path: Path) -> str:
    """Return the digest of the dataset part of a Part 10 file."""
    with path.open("rb") as file:
        file.seek(132)
        length = read_file_meta_info(path).FileMetaInformationGroupLength
        file.seek(132 + 12 + length)
        return hashlib.sha256(file.read()).hexdigest()


def dcmtk(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *arguments], env=DCMTK_ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )


def _context(path: Path) -> tuple[str, str]:
    meta = read_file_meta_info(path)
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
