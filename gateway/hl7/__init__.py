"""HL7 version 2 as the clinic's HIS speaks it: messages as text, MLLP on the wire."""
