"""Buckets in Redis: one script call for all asks of a batch, and no call is ever repeated.

Decided here: how a batch is written down for lua/take.lua, and what counts as an answer.
Connections are redis_pool.py's.  The arithmetic is the script's, whose law bucket.py and
policy.py are.  Time is Redis' own.

One server, Redis 6.2 or later or Valkey.  Redis Cluster is not supported: a batch has keys
of many slots.
"""

from collections import defaultdict
from collections.abc import Sequence
from importlib.resources import files
from itertools import count
from typing import Final, NamedTuple

import msgspec

from ratelimit.policy import Ask, Decision, Policy
from ratelimit.redis_line import Line, Refused
from ratelimit.redis_pool import Pool, Script, said_of
from ratelimit.store import ASKS_MAX, StoreAway

_KINDS: Final = {"take": 0, "some": 1, "peek": 2, "refund": 3}
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Decision]).decode


class Facts(NamedTuple):
    """What start-up wants to know of a server."""

    server: str  # "valkey 9.1.2"
    run_id: str  # another one: it was restarted, or it is another server
    is_primary: bool
    maxmemory_policy: str  # other than "noeviction": buckets may vanish, and then admit
    maxmemory_bytes: int  # 0 = all there is
    is_appending: bool  # an append-only file survives a restart
    save: str | None  # when snapshots are made, "" = never; None = CONFIG is not allowed here


class RedisStore:
    """A Store (see there) in a Redis.  Connects when first asked.

    Args:
        url, connect_timeout_s, give_up_s: see Pool.
        prefix: of the keys made here; those of asks come complete.

    Raises: ValueError: the url is none.
    """

    def __init__(self, url: str, *, prefix: str = "", connect_timeout_s: float = 1.0, give_up_s: float = 5.0) -> None:
        self._pool = Pool(url, connect_timeout_s=connect_timeout_s, give_up_s=give_up_s)
        self._workers_key = f"{prefix}workers".encode()

    async def decide(self, asks: Sequence[Ask], *, now_us: int | None = None) -> Sequence[Decision]:
        """See Store.  `now_us` is for tests: an instant ahead of Redis' clock, which else would expire keys at once."""
        assert 1 <= len(asks) <= ASKS_MAX, len(asks)
        keys, argument = written(asks, now_us)
        reply = await self._pool.talk(lambda line: _TAKE.run(line, (len(keys), *keys, argument)))
        try:
            decisions = _decode(reply)
        except (msgspec.MsgspecError, TypeError) as error:
            raise StoreAway(f"no answer of take.lua: {error}") from error
        if len(decisions) != len(asks):
            raise StoreAway(f"{len(decisions)} answers to {len(asks)} asks")
        return decisions

    async def beat(self, worker: str, alive_s: float) -> int:
        """See Store."""
        arguments = (1, self._workers_key, worker.encode(), int(alive_s * 1000))
        reply = await self._pool.talk(lambda line: _BEAT.run(line, arguments))
        if not isinstance(reply, int):
            raise StoreAway(f"no answer of beat.lua: {reply!r}")
        return reply

    async def ping(self) -> None:
        """One round trip that changes nothing.  Raises StoreAway."""
        await self._pool.talk(lambda line: line.ask(("PING",)))

    async def facts(self) -> Facts:
        """What the server says of itself.  Raises StoreAway."""
        return await self._pool.talk(_read_facts)

    async def close(self) -> None:
        """Let go of connections; calls in flight raise StoreAway now."""
        self._pool.close()


def written(asks: Sequence[Ask], now_us: int | None = None) -> tuple[list[bytes], bytes]:
    """KEYS and ARGV[1] of take.lua.

    Every gateway request comes through here: the keys are numbered by a dict that counts for
    itself, policies are told apart by identity (hashing one costs as much as all the rest), and
    msgspec writes them as the tuples they are.
    """
    places: defaultdict[bytes, int] = defaultdict(count(1).__next__)
    place = places.__getitem__
    numbers: dict[int, int] = {}
    policies: list[Policy] = []
    flat: list[int] = []
    for ask in asks:
        number = numbers.get(id(ask.policy))
        if number is None:
            policies.append(ask.policy)
            number = numbers[id(ask.policy)] = len(policies)
        flat += (number, _KINDS[ask.kind], ask.tokens)
        flat += map(place, ask.keys)
    return list(places), _encode((now_us or 0, policies, flat))


def _script(name: str) -> Script:
    return Script(files("ratelimit").joinpath("lua", name).read_bytes())


_TAKE: Final = _script("take.lua")
_BEAT: Final = _script("beat.lua")


async def _read_facts(line: Line) -> Facts:
    said = await said_of(line)
    try:
        save = (await line.ask(("CONFIG", "GET", "save")))[1].decode()
    except Refused:  # services that manage the server keep it to themselves
        save = None
    try:
        return Facts(
            server=f"{said.get('server_name', 'redis')} {said.get('valkey_version') or said['redis_version']}",
            run_id=said["run_id"],
            is_primary=said["role"] == "master",
            maxmemory_policy=said["maxmemory_policy"],
            maxmemory_bytes=int(said["maxmemory"]),
            is_appending=said["aof_enabled"] == "1",
            save=save,
        )
    except KeyError as error:
        raise StoreAway(f"INFO says nothing of {error}") from error
