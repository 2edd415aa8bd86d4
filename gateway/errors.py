"""What can go wrong on the receiving side; messages carry identifiers and paths, never patient data."""

from __future__ import annotations


class SpoolFull(Exception):
    """The spool's disk has no room left (or would fall under its floor); nothing was acknowledged."""


class InstanceNotInSpool(Exception):
    """The spool holds no file for this instance in this state."""


class ObjectTooLarge(Exception):
    """The object is larger than one object may be."""


class CommandMismatch(Exception):
    """The dataset is not the instance that the C-STORE command announced."""


class DuplicateDiffers(Exception):
    """The SOP Instance UID is already held with other bytes."""


class NotAllowedToStore(Exception):
    """A device sent an image that may not; nothing of it is kept."""
