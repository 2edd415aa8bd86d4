"""A gateway at an assisting hospital: claimed cases into its PACS, reports of its workstations to the hub."""

from gateway.reader.link import ReaderLink

__all__ = ["ReaderLink"]
