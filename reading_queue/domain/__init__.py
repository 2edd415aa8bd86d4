"""Decisions of the reading side. Pure: no I/O, no clock, no framework."""
