"""The reading desk: worklist, claims, drafts, what a reader adds, whom a reader asks."""
