"""Orders that the clinic's HIS or RIS sends by HL7: the listener, what is kept, what becomes of it."""
