"""DICOM datasets: headers, character sets, digests, frames."""
