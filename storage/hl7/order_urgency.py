"""How urgent an order is, and which green channel (绿色通道) it takes: TQ1-9, OBR-27.6, ORC-7.6, OBR-5. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel
from storage.hl7.local_codes import LocalCodes
from storage.hl7.message import Message
from storage.hl7.order_patient import NULL

# HL7 table 0485.
_LANES: Final = {
    "S": Lane.STAT,
    "STAT": Lane.STAT,
    "A": Lane.URGENT,
    "ASAP": Lane.URGENT,
    "T": Lane.URGENT,
    "P": Lane.URGENT,
    "R": Lane.ROUTINE,
    "C": Lane.ROUTINE,
    "PRN": Lane.ROUTINE,
}
_PLACES: Final = (("TQ1", 9, (1, 4)), ("OBR", 27, (6,)), ("ORC", 7, (6,)), ("OBR", 5, (1,)))
_FIRST: Final = 1


@dataclass(frozen=True, slots=True)
class Urgency:
    """What was sent. `lane` is None where no code is known; a green channel without a lane of its own is stat."""

    lane: Lane | None
    green_channel: GreenChannel | None
    where: str


def read_urgency(message: Message, places: Mapping[str, Sequence[int]], codes: LocalCodes) -> Urgency | None:
    """Return how urgent the order is whose segments lie at these places, None where nothing is sent.

    TQ1-9 may repeat, and has a second code in its fourth component: one may say the priority, another the channel.
    """
    for name, number, components in _PLACES:
        sent = list(_codes_at(message, places.get(name, ())[:1], number, components)) if name in places else []
        if not sent:
            continue
        green = next((codes.green_channels[code] for code in sent if code in codes.green_channels), None)
        known = [codes.urgencies.get(code) or _LANES.get(code) for code in sent]
        lane = next((one for one in known if one is not None), None if green is None else Lane.STAT)
        component = components[0]
        return Urgency(lane, green, f"{name}-{number}" + (f".{component}" if component > _FIRST else ""))
    return None


def _codes_at(message: Message, place: Sequence[int], number: int, components: Sequence[int]) -> Iterator[str]:
    for one in place:
        for repetition in range(1, message.repetitions(one, number) + 1):
            for component in components:
                code = message.at(one, number, component, repetition=repetition).strip().upper()
                if code and code != NULL:
                    yield code
