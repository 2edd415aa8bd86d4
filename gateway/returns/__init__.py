"""From the hub back to the clinic: fetches signed documents, proves them, delivers them, and says so."""

from gateway.returns.delivery import Deliverer
from gateway.returns.fetching import DocumentFetcher
from gateway.returns.receipts import ReceiptSender

__all__ = ["Deliverer", "DocumentFetcher", "ReceiptSender"]
