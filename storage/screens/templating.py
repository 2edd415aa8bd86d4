"""Where templates are found: a program's own pages by their name, parts that all screens share under `screens/`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import jinja2

SHARED: Final = Path(__file__).parent / "templates"


def load_pages(folder: Path) -> jinja2.BaseLoader:
    """Return the loader of a program's pages and of what they share with the other's."""
    return jinja2.ChoiceLoader(
        [jinja2.PrefixLoader({"screens": jinja2.FileSystemLoader(SHARED)}), jinja2.FileSystemLoader(folder)]
    )
