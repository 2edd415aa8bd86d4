"""Signatures, the documents made of them, additions, and the way home."""
