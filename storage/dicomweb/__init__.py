"""DICOMweb (PS3.18) over the catalogue and the packs. Hub only."""

from storage.dicomweb.app import Access, build_dicomweb

__all__ = ["Access", "build_dicomweb"]
