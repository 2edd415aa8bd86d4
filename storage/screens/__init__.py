"""What all screens share, at the hub and at the clinic: the look, and how a page is asked for, worded and answered.

`screens.css` and `mark.svg` are the look. The modules hold no page and no state: words by language, static files,
threads for synchronous code, what every request passes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
