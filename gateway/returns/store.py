"""Where returned documents lie: `spool_dir/documents/<case>/<document>.<extension>`, byte for byte as signed.

Durable when `save_document` returns: fsynced, renamed, directory fsynced. What did not prove lies in quarantine with
its reason and never among the documents.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Final

from gateway.spool import layout
from gateway.spool.durable import DurableFile, FileOperations, make_directory_durably
from storage.contract.identifiers import new_id
from storage.contract.wire import DocumentDescriptor, DocumentKind

DOCUMENTS: Final = "documents"
EXTENSIONS: Final = {DocumentKind.REPORT_JSON: ".json", DocumentKind.SR: ".dcm", DocumentKind.PDF: ".dcm"}
_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class DocumentNameUnsafe(Exception):
    """The hub's id of a case or document may not become part of a path."""


class DocumentStore:
    """The documents of one gateway, inside its spool directory."""

    def __init__(self, spool_dir: Path, files: FileOperations) -> None:
        self._root = spool_dir
        self._files = files
        make_directory_durably(files, spool_dir / DOCUMENTS)

    def path_of(self, descriptor: DocumentDescriptor) -> Path:
        """Return where the document lies; raises DocumentNameUnsafe."""
        for name in (descriptor.case_id, descriptor.document_id):
            if _SAFE_NAME.fullmatch(name) is None:
                raise DocumentNameUnsafe("the id of the case or of the document has characters that no id has")
        name = f"{descriptor.document_id}{EXTENSIONS[descriptor.kind]}"
        return self._root / DOCUMENTS / descriptor.case_id / name

    def save_document(self, descriptor: DocumentDescriptor, content: bytes) -> Path:
        """Keep the document durably; the same one again replaces itself."""
        path = self.path_of(descriptor)
        make_directory_durably(self._files, path.parent)
        self._write(path, content)
        return path

    def remove_case(self, case_id: str) -> None:
        """Remove all documents of a case; harmless to repeat, and for a name that never became a path."""
        directory = self._root / DOCUMENTS / case_id
        if _SAFE_NAME.fullmatch(case_id) is None or not directory.is_dir():
            return
        for path in directory.iterdir():
            self._files.remove_file(path)
        self._files.remove_directory(directory)
        self._files.fsync_directory(directory.parent)

    def set_aside(self, document_id: str, content: bytes, reason: str) -> None:
        """Keep bytes that did not prove in quarantine, with the reason; the same bytes again change nothing."""
        name = hashlib.sha256(document_id.encode() + b"\n" + content).hexdigest()[:32]
        directory = self._root / layout.QUARANTINE
        if (directory / f"{name}.document").exists():
            return
        words = {"code": "document_untrusted", "words": reason, "document_id": document_id}
        self._write(directory / f"{name}.document.json", json.dumps(words, ensure_ascii=False, indent=2).encode())
        self._write(directory / f"{name}.document", content)

    def _write(self, path: Path, content: bytes) -> None:
        tmp = DurableFile(self._files, self._root / layout.TMP / f"{new_id()}{layout.FRAGMENT_SUFFIX}")
        try:
            tmp.write(content)
            tmp.publish(path)
        finally:
            tmp.discard()
