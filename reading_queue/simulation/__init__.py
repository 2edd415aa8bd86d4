"""A network tried out before it is used: synthetic studies go through the real rules, and the outcome is counted.

Pure: no database, no wall clock; randomness comes from a seed. Who is offered what is decided by `domain.routing`,
what may happen to a case and a reading task by `domain.transitions`. Only what the hub keeps in tables is kept in
memory here, and what people do (come, look, decline, read) is drawn from the demand model.
"""

from reading_queue.simulation.demand import Demand, DemandInvalid, parse_demand
from reading_queue.simulation.engine import simulate
from reading_queue.simulation.network import Hospital, Network, RosteredPhysician, TimedAgreement
from reading_queue.simulation.outcome import Outcome
from reading_queue.simulation.province import province
from reading_queue.simulation.rules import Rules

__all__ = [
    "Demand",
    "DemandInvalid",
    "Hospital",
    "Network",
    "Outcome",
    "RosteredPhysician",
    "Rules",
    "TimedAgreement",
    "parse_demand",
    "province",
    "simulate",
]
