"""Who somebody is to the hub, and what they may see and do."""
