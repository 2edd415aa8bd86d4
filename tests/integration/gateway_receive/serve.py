"""Runs the receiving half of a gateway in a directory until it is killed; the file `port` there names its port."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from gateway.completeness import Patience
from tests.integration.gateway_receive.receiving import ReceivingGateway


def main() -> None:
    gateway = ReceivingGateway(Path(sys.argv[1]), patience=Patience(quiet_period_s=0.2, open_association_max_s=0.3))
    gateway.start()
    gateway.enrol()
    partial = gateway.directory / "port.partial"
    partial.write_text(str(gateway.port))
    partial.rename(gateway.directory / "port")
    threading.Event().wait()


if __name__ == "__main__":
    main()
