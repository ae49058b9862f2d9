"""How many are in line by Redis' own keys at one instant, read without a trace: EVAL_RO may not write.

In line is who has been seen within the windows of FAR and is not through; lua/room.lua draws the keys, and its `union`
is what is counted here.  The bitmaps are counted in Python, for BITOP would need a key to write to.
"""

import asyncio
from typing import Any, Final, NamedTuple

import msgspec
from redis.asyncio import Redis

EVERY_S: Final = 0.05
_READ: Final = """
local prefix = KEYS[1]:sub(1, -6)
local time = redis.call('TIME')
local found = {time[1], time[2], redis.call('GET', KEYS[1])}
for i, name in ipairs({'through', 'far:0', 'far:1', 'far:2'}) do found[i + 3] = redis.call('GET', prefix .. name) or '' end
return found
"""


class Truth(NamedTuple):
    """One look."""

    at_s: float  # by Redis' clock
    depth: int
    tail: int  # places given
    passes: int


def depth(through: bytes, windows: list[bytes]) -> int:
    """Who is in any window and not through."""
    # Bit 0 is the first byte's highest: from the left, so that strings of any length stand above each other.
    longest = max(map(len, (through, *windows)), default=0)
    there = 0
    for window in windows:
        there |= int.from_bytes(window.ljust(longest, b"\0"), "big")
    return (there & ~int.from_bytes(through.ljust(longest, b"\0"), "big")).bit_count()


def read(found: list[Any]) -> Truth:
    """What the script returned."""
    seconds, micros, packed, through, *windows = found
    state = msgspec.msgpack.decode(packed)
    return Truth(int(seconds) + int(micros) / 1e6, depth(through, windows), state["tail"], state["passes"])


async def follow(url: str, room: str, epoch: int, seen: list[Truth]) -> None:
    """Look, until cancelled."""
    client: Any = Redis.from_url(url)
    try:
        while True:
            seen.append(read(await client.eval_ro(_READ, 1, f"{{sluicegate:room:{room}:{epoch}}}:state")))
            await asyncio.sleep(EVERY_S)
    finally:
        await client.aclose()
