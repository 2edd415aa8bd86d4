"""Celery jobs, the outbox relay and the scheduler."""
