"""The gateway's journal: one SQLite database beside the spool."""
