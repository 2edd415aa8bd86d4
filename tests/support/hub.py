"""A hub for tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from reading_queue.services.access.keys import KeyFile
from reading_queue.services.hub import Hub
from reading_queue.services.policy import Policy
from storage.objects.protocol import ObjectStore

PUBLIC_URL = "http://hub.example"


def make_hub(engine: Engine, objects: ObjectStore, key_file: Path, clock: Callable[[], datetime]) -> Hub:
    """Return a hub on these."""
    return Hub(
        engine=engine,
        objects=objects,
        keys=KeyFile(key_file),
        policy=Policy(),
        network_name="Test network",
        audience="test-network",
        public_url=PUBLIC_URL,
        clock=clock,
    )
