"""The line to the hub: how fast it is, who may use how much of it, in which order, over how many streams."""
