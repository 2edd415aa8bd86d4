"""Studies that come on a disk, in a folder or as a ZIP file, for sites whose scanner cannot send."""

from gateway.importing.importer import Importer

__all__ = ["Importer"]
