"""A look at one's place for thousands of people at once: `place.look` over arrays, when to ask again and who is called.

The scalar function is the specification; a random test holds this one equal to it
(tests/loadtests/test_simulate_looks.py).  Asking is most of what a million people do, and one by one it
would take most of an hour.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.core.place import NEAR_TURN_S, gate_at
from gateway.core.sign import BOUNDS, LOBBY_BOUNDS, Policy, Sign

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Looks(NamedTuple):
    """What each is told."""

    is_called: Flags
    ahead: Ints
    poll_after_s: Floats  # of who is called nothing: they knock


def look_all(policy: Policy, sign: Sign, places: Ints, now_us: int, shares: Floats) -> Looks:
    """`look` of each place."""
    is_called = (places < gate_at(sign, now_us)) & (not sign.clock.is_paused)
    ahead = _people_ahead(sign, places)
    return Looks(is_called, ahead, _poll_after_s(policy, sign, ahead, shares))


def _people_ahead(sign: Sign, places: Ints) -> Ints:
    beyond = _there_below(sign, places) - _there_below(sign, np.array([sign.head]))
    return sign.booked + _called_before(sign, places) + np.where(places > sign.head, beyond, 0)


def _called_before(sign: Sign, places: Ints) -> Ints:
    bounds = np.array(sign.called_places)
    index = np.searchsorted(bounds, places, "right") - 1
    inner = np.minimum(np.maximum(index, 0), LOBBY_BOUNDS - 1)
    left, right = bounds[inner], bounds[inner + 1]
    between = (sign.called * (inner + (places - left) / np.maximum(right - left, 1)) / LOBBY_BOUNDS).astype(np.int64)
    return np.where(index < 0, 0, np.where(index == LOBBY_BOUNDS, sign.called, between))


def _there_below(sign: Sign, places: Ints) -> Ints:
    counts, width = np.array(sign.ahead), max(sign.ahead_to - sign.ahead_from, 1)
    inside = np.minimum(np.maximum(places, sign.ahead_from), max(sign.ahead_to - 1, sign.ahead_from))
    step, rest = np.divmod((inside - sign.ahead_from) * BOUNDS, width)
    left, right = counts[step], counts[step + 1]
    between = left + (right - left) * rest // width
    return np.where(places <= sign.ahead_from, 0, np.where(places >= sign.ahead_to, counts[-1] + places - sign.ahead_to, between))


def _poll_after_s(policy: Policy, sign: Sign, ahead: Ints, shares: Floats) -> Floats:
    soonest_s = ahead * policy.token_us_min / 1_000_000
    near_s = np.minimum(np.maximum(soonest_s - policy.lobby_us / 1_000_000 + 0.25, 1.0), 4.0)
    far_s = np.minimum(np.maximum(soonest_s / 3, 2.0), float(policy.poll_s_longest(sign.waiting)))
    return np.where(soonest_s < NEAR_TURN_S, near_s, far_s) * (0.85 + 0.15 * shares)
