"""`python -m reading_queue`: the same as `counterpart-hub`."""

from __future__ import annotations

from reading_queue.cli import main

if __name__ == "__main__":
    main()
