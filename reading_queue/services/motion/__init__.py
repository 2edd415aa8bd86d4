"""What keeps the work moving: sweeps, locks by name, jobs that failed, probes of queues."""
