"""The right reader in time: facts, ranking, offers, escalation, and why it went so."""
