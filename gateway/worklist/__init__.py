"""The Modality Worklist (PS3.4 annex K) from the orders in the journal: it works with the line down.

`keys` reads what a scanner asks, `items` says what an order looks like in DICOM, `answers` puts both together,
`finding` talks to the scanner. Volatile throughout.
"""

from gateway.worklist.finding import WorklistService

__all__ = ["WorklistService"]
