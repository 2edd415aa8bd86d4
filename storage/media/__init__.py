"""Studies on their way out: file sets with a DICOMDIR (PS3.10), names, ZIP archives as a stream. Pure."""
