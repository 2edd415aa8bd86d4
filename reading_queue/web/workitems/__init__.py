"""UPS-RS, the reading queue for other vendors' worklists: `/dicomweb/workitems` (PS3.18 chapter 11).

CONFORMANCE.md beside this says what is offered.
"""

from __future__ import annotations

from reading_queue.web.workitems.channels import install
from reading_queue.web.workitems.routes import PREFIX, SUBSCRIBERS, build_subscribers, build_workitems

__all__ = ["PREFIX", "SUBSCRIBERS", "build_subscribers", "build_workitems", "install"]
