"""The DICOM listener: what scanners and workstations talk to."""

from gateway.scp.server import DicomServer, ScpSettings

__all__ = ["DicomServer", "ScpSettings"]
