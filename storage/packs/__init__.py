"""Packs: uncompressed ustar archives of whole Part 10 files, a pure function of their members."""
