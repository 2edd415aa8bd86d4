"""The scheduler role: the outbox relay, and the sweeps that re-derive from the database what should be in motion.

Durable: nothing of its own. It may be killed at any moment and several may run at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from reading_queue.db.connections import is_away
from reading_queue.services.arrival import deposit_leftovers, staging
from reading_queue.services.corrections import amending
from reading_queue.services.holdings import erasing, recording, retention, scrubbing
from reading_queue.services.hub import Hub
from reading_queue.services.motion import queue_probes, sweeps
from reading_queue.services.network import duty, network_people
from reading_queue.services.order_messages import keeping
from reading_queue.services.patients import link_desk, linking
from reading_queue.services.reading import consults
from reading_queue.services.routing import escalating
from reading_queue.services.worklists import desk_events, workitem_events
from reading_queue.worker.broker import BrokerUnavailable
from reading_queue.worker.dead_letters import DeadLetters
from reading_queue.worker.jobs import PROBES
from reading_queue.worker.relay import Relay

SWEEP_EVERY_S: Final = 2.0
RELAY_STOP_S: Final = 5.0

Sweep = Callable[[Hub], object]

SWEEPS: Final[Mapping[str, Sweep]] = {
    "expire_leases": sweeps.expire_leases,
    "expire_offers": sweeps.expire_offers,
    "escalate_due": escalating.escalate_due,
    "expire_consults": consults.expire_consults,
    "hurry_consults": consults.hurry_consults,
    "extend_duty": duty.extend_duty,
    "close_leavers": network_people.close_leavers,
    "relaunch_lost": sweeps.relaunch_lost,
    "probe_queues": lambda hub: queue_probes.ask(hub, PROBES),
    "prune_expired": sweeps.prune_expired,
    "prune_outbox": sweeps.prune_outbox,
    "prune_order_messages": keeping.prune_order_messages,
    "prune_events": desk_events.prune_events,
    "prune_workitem_events": workitem_events.prune_workitem_events,
    "sweep_abandoned": staging.sweep_abandoned,
    "complete_records": recording.complete_records,
    "record_revisions": recording.record_revisions,
    "record_holds": retention.record_holds,
    "record_amendments": amending.record_amendments,
    "relaunch_erasures": erasing.relaunch_erasures,
    "record_links": link_desk.record_links,
    "relaunch_linking": linking.relaunch_linking,
    "plan_scrubbing": scrubbing.plan,
    "sweep_deposits": deposit_leftovers.sweep_deposits,
}

_log = structlog.get_logger(__name__)


class RelayEnded(Exception):
    """The relay's thread is gone: the role ends too, so that its supervisor starts it anew."""


def run_scheduler(
    hub: Hub,
    relay: Relay,
    stop: threading.Event,
    *,
    beat: Callable[[], None],
    every_s: float = SWEEP_EVERY_S,
    dead_letters: DeadLetters | None = None,
) -> None:
    """Relay and sweep until `stop` is set; call `beat` after every round in which the relay went on, too.

    Raises:
        RelayEnded: the relay's thread ended without being told to.
    """
    thread = threading.Thread(target=relay.run, args=(stop,), name="outbox-relay", daemon=True)
    thread.start()
    rounds = -1
    while not stop.wait(every_s):
        if not thread.is_alive():
            raise RelayEnded
        sweep_once(hub)
        if dead_letters is not None:
            _collect(dead_letters)
        if relay.rounds != rounds:
            rounds = relay.rounds
            beat()
    thread.join(RELAY_STOP_S)


def _collect(dead_letters: DeadLetters) -> None:
    try:
        dead_letters.collect()
    except BrokerUnavailable:
        pass  # the relay says so; the letters wait in their queue
    except Exception:  # noqa: BLE001 -- the border of a sweep: it runs again in a moment
        _log.exception("sweep_failed", sweep="dead_letters")


def sweep_once(hub: Hub) -> None:
    """Run every sweep once; one that fails is logged and keeps no other from running, unless the database is away."""
    for name, sweep in SWEEPS.items():
        try:
            sweep(hub)
        except Exception as exc:  # noqa: BLE001 -- the border of a sweep: it runs again in a moment
            if is_away(exc):
                _log.warning("sweeps_wait", reason=type(exc).__name__)
                return
            _log.exception("sweep_failed", sweep=name)
