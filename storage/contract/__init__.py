"""The contract between gateways and the hub. Pure: no I/O, no clock, no framework beyond pydantic."""
