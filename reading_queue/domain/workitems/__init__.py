"""Reading tasks as Unified Procedure Steps: their attributes, states, creation and event reports. Pure."""
