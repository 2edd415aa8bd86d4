"""DICOMweb (PS3.18) over the catalogue and the packs. Hub only."""
