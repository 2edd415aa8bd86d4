"""The spool: instance files on the gateway's disk, the truth of what was acknowledged."""

from gateway.spool.durable import DurableFile, FileOperations, RealFiles
from gateway.spool.layout import SpoolState
from gateway.spool.quarantine import QuarantineReason
from gateway.spool.spool import Spool

__all__ = ["DurableFile", "FileOperations", "QuarantineReason", "RealFiles", "Spool", "SpoolState"]
