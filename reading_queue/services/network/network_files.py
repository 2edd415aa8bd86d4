"""A network's files as they are handed over: one YAML file, CSV files, or a ZIP archive of either. Pure; bounded.

What is too large is refused before it is unpacked or parsed, whatever an archive says of itself.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Final

from reading_queue.domain.network_faults import Fault, Path, Place
from reading_queue.services.network.network_csv import read_csv_set
from reading_queue.services.network.network_document import NetworkInvalid
from reading_queue.services.network.network_yaml import read_yaml

FILES_MAX: Final = 20
UNPACKED_BYTES_MAX: Final = 16 * 1024 * 1024  # of all files together
_ZIP: Final = b"PK\x03\x04"
_OLD_OFFICE: Final = b"\xd0\xcf\x11\xe0"  # .xls
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive


def read_files(files: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[Path, Place], list[Fault]]:
    """Return the document, where everything in it stands, and what is wrong with CSV files as such.

    Raises:
        NetworkInvalid: nothing can be understood of it.
    """
    unpacked = unpack(files)
    if not unpacked:
        raise _invalid("no_network", next(iter(files), "-"))
    if len(unpacked) == 1:
        [(name, data)] = unpacked.items()
        if not name.endswith(".csv"):
            document, places = read_yaml(name, data)
            return document, places, []
    return read_csv_set(unpacked)


def unpack(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files by name, those of archives instead of the archives. Raises NetworkInvalid."""
    unpacked: dict[str, bytes] = {}
    left = UNPACKED_BYTES_MAX
    for given, data in files.items():
        if data.startswith(_OLD_OFFICE):
            raise _invalid("workbook", given)
        for name, own in _members(given, data, left).items() if data.startswith(_ZIP) else [(given, data)]:
            left -= len(own)
            if left < 0:
                raise _invalid("too_many_bytes", given, limit=UNPACKED_BYTES_MAX)
            if name in unpacked:
                raise _invalid("code_twice", given, subject=name)
            unpacked[name] = own
            if len(unpacked) > FILES_MAX:
                raise _invalid("too_many_files", given, limit=FILES_MAX)
    return unpacked


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive of the files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as outlet:
        for name, data in files.items():
            outlet.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def _members(given: str, data: bytes, bytes_max: int) -> dict[str, bytes]:
    """Return an archive's files by their names without folders; what a Mac adds to archives is left out."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            listed = [one for one in archive.infolist() if not one.is_dir() and "__MACOSX/" not in one.filename]
            if any(one.filename == "[Content_Types].xml" for one in listed):
                raise _invalid("workbook", given)
            if len(listed) > FILES_MAX:
                raise _invalid("too_many_files", given, limit=FILES_MAX)
            found: dict[str, bytes] = {}
            for one in listed:
                name = one.filename.rpartition("/")[2]
                if name in found:
                    raise _invalid("code_twice", given, subject=name)
                with archive.open(one) as member:
                    found[name] = member.read(bytes_max + 1)
                bytes_max -= len(found[name])
                if bytes_max < 0:
                    raise _invalid("too_many_bytes", given, limit=UNPACKED_BYTES_MAX)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as exc:
        raise _invalid("not_a_zip", given) from exc
    return found


def _invalid(code: str, file: str, **params: Any) -> NetworkInvalid:
    return NetworkInvalid([Fault(code, (), params)], {(): Place(file, 1)})
