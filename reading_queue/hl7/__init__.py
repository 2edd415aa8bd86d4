"""The hub's listener for order messages: MLLP over mutual TLS, nothing else."""
