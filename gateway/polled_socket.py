"""pynetdicom's socket, watched by poll(): select() cannot watch a file with a number of 1,024 or more."""

from __future__ import annotations

import select
import ssl
from typing import Final

from pynetdicom.transport import AssociationSocket

_EVENT_CONNECTION_CLOSED: Final = "Evt17"


class PolledSocket(AssociationSocket):
    """A socket of an association, whichever side opened it."""

    @property
    def ready(self) -> bool:
        """Return whether there is something to read, the end of the connection included.

        As shipped it asks select() and takes a high file number for the end of the connection.
        """
        connection = self.socket
        if connection is None or not self._is_connected:
            return False
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True
        try:
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError):  # closed by us meanwhile
            self.event_queue.put(_EVENT_CONNECTION_CLOSED)
            return False
