"""Where the words for faults of messages are, in the languages of screens: catalogues by the faults' own English."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ORDER_MESSAGE_WORDS: Final = Path(__file__).parent / "locales"
