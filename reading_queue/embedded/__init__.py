"""PostgreSQL and Redis of one machine, started and stopped by the hub's own supervisor."""
