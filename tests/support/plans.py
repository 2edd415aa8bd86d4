"""How PostgreSQL would answer a query."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Select, text
from sqlalchemy.dialects import postgresql

from reading_queue.services.hub import Hub


def read_whole(hub: Hub, query: Select[Any]) -> set[str]:
    """Return the tables that the plan of a query reads from end to end, although no index is too dear for it."""
    compiled = query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN " + str(compiled).replace("%%", "%").replace(":", "\\:")
    with hub.transaction() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))  # then it is done only where no index serves
        return set(re.findall(r"Seq Scan on (\w+)", "\n".join(session.scalars(text(explain)))))
