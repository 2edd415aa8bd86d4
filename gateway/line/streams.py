"""How many uploads at once fill the line: found by trying, one stream more or less at a time. Pure.

A slow line is full with one stream; a long or lossy one is not, because a lost packet or the wait for an answer holds
up one stream only. A stream is kept when it brought as much more as it must, and given up when the line is as fast
without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

STREAMS_UNMEASURED: Final = 3  # two do not fill a lossy line, and what a slow one has too many is soon given up
GAIN_MIN: Final = 1.05  # what one more stream must bring
LOSS_MAX: Final = 0.98  # what the line may lose by one stream less
REST_FIRST_S: Final = 30.0
REST_MAX_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Choice:
    """`streams` to run. `compared` is what the line carried before the trial under way, None when there is none."""

    streams: int = STREAMS_UNMEASURED
    compared: float | None = None
    trial: int = 0  # +1: one more is on trial, -1: one less
    last_trial: int = -1
    rest_s: float = REST_FIRST_S
    rest_until: float = 0.0  # by the clock of the caller


def after_sample(choice: Choice, bytes_per_s: float, now: float, *, streams_max: int) -> Choice:
    """Return what to do after the line carried `bytes_per_s` for a while with `choice.streams` busy streams.

    `now` in seconds of any clock that only goes forward. Samples of a line that a limit held back must not come here.
    """
    if choice.streams > streams_max:
        return Choice(streams=streams_max)
    if choice.compared is None:
        return _begin_trial(choice, bytes_per_s, now, streams_max) if now >= choice.rest_until else choice
    if choice.trial > 0:
        if bytes_per_s >= choice.compared * GAIN_MIN:
            return _begin_trial(replace(choice, rest_s=REST_FIRST_S), bytes_per_s, now, streams_max, only=1)
        return _rest(choice, choice.streams - 1, now)
    if bytes_per_s >= choice.compared * LOSS_MAX:
        return _begin_trial(replace(choice, rest_s=REST_FIRST_S), bytes_per_s, now, streams_max, only=-1)
    return _rest(choice, choice.streams + 1, now)


def _begin_trial(choice: Choice, bytes_per_s: float, now: float, streams_max: int, *, only: int = 0) -> Choice:
    trial = only or -choice.last_trial  # up and down by turns
    if not 1 <= choice.streams + trial <= streams_max:
        trial = -trial
    if only not in (0, trial) or not 1 <= choice.streams + trial <= streams_max:
        return _rest(choice, choice.streams, now)
    return replace(choice, streams=choice.streams + trial, compared=bytes_per_s, trial=trial, last_trial=trial)


def _rest(choice: Choice, streams: int, now: float) -> Choice:
    rest_s = choice.rest_s
    return replace(
        choice,
        streams=streams,
        compared=None,
        trial=0,
        rest_s=min(rest_s * 2, REST_MAX_S),
        rest_until=now + rest_s,
    )
