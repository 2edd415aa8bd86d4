"""What is kept and proved: identifiers, packs, objects, the catalogue and the ledger.

Knows nothing of gateways' boxes or of reading: `contract`, `dicom` and `packs` are used on both sides of the
line; `objects`, `catalogue`, `ledger` and `dicomweb` on the hub only.
"""
