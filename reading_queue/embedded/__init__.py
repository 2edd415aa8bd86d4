"""PostgreSQL and Redis of one machine, started and stopped by the hub's own supervisor.

Durable: what lies under the hub's data directory (`postgres/`, `redis/`). Volatile: sockets, locks and the files of
`run/`. After any crash the next start finds leftovers of the last one, ends them, and goes on with the same data.
"""

from __future__ import annotations


class EmbeddedServerError(Exception):
    """An embedded server cannot run here; the message says why and what to do."""
