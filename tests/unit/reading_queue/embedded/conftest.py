"""Which tests of the embedded servers this user can run."""

from __future__ import annotations

import os

# An ordinary user cannot become another one: these are for root, as in a container.
collect_ignore = [] if os.geteuid() == 0 else ["test_postgres_of_root.py"]
