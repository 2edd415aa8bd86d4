"""Earlier studies for the hub's readers, fetched from the site's own PACS by C-FIND and C-MOVE (PS3.4 annex C).

`choice` decides, without any I/O, whether a study at the PACS is of the same person and which are fetched; `pacs` asks
the PACS; `requests` talks to the hub; `fetching` does the work.
"""

from gateway.priors.fetching import PriorFetcher, PriorLimits
from gateway.priors.pacs import Pacs
from gateway.priors.requests import PriorRequests

__all__ = ["Pacs", "PriorFetcher", "PriorLimits", "PriorRequests"]
