"""Searches by QIDO-RS: which keys there are, what a query means, and what it finds."""
