"""HL7 version 2 as both sides of the line read and write it: messages, frames, orders, acknowledgements. Pure."""
