"""Lossless compression of what has arrived, behind the association's back."""

from gateway.compression.compressor import Compressor

__all__ = ["Compressor"]
