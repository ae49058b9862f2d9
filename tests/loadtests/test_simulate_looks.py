"""Looking for thousands at once says what `place.look` says for each: on signs of a line that lives, at any place in it."""

import random

import numpy as np
import pytest

from gateway.core.place import look, share_of
from gateway.core.sign import Policy
from gateway.core.turn import token_us_of
from gateway.core.waiting import Room
from loadtests.simulate.looks import look_all

START_US = 1_700_000_000_000_000


@pytest.mark.parametrize("seed", range(8))
def test_each_is_told_what_the_gateway_tells_them(seed: int) -> None:
    draw, policy = random.Random(seed), Policy(token_us_min=token_us_of(50), poll_budget_per_s=20)
    room, now_us, number = Room.opened(policy, token_us_of(20), START_US), START_US, 0
    for step in range(120):
        now_us += draw.choice([100_000, 250_000, 900_000])
        for _ in range(draw.choice([0, 5, 60])):
            room.join([number.to_bytes(8, "big")], now_us)
            number += 1
        sign = room.tick(now_us, [draw.randrange(number + 1) for _ in range(draw.randrange(40))], [draw.randrange(number + 1) for _ in range(40)])
        room.door([draw.randrange(number + 1) for _ in range(draw.randrange(8))], now_us)
        if step % 40 == 20:
            (room.resume if room.clock.is_paused else room.pause)(now_us)
        places = np.arange(number + 20)
        shares = np.array([share_of(int(place)) for place in places])
        at_us = now_us + draw.choice([0, 400_000, 3_000_000])
        many = look_all(policy, sign, places, at_us, shares)
        for place in places.tolist():
            one = look(policy, sign, place, at_us, share_of(place))
            assert many.is_called[place] == (one.state == "called")
            if one.state != "called":
                assert many.ahead[place] == one.ahead
                assert many.poll_after_s[place] == one.poll_after_s
