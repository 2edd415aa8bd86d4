"""The box at the clinic: receives from scanners, keeps safe, sends to the hub, brings reports home."""
