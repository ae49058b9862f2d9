"""Buckets in Redis: one script call for all asks of a batch, and no call is ever repeated.

Decided here: how a batch is written down for lua/take.lua, when a connection is used again,
and what counts as an answer.  The arithmetic is the script's, whose law bucket.py and
policy.py are.  Time is Redis' own.

One server, Redis 6.2 or later or Valkey, or a name that follows the primary of a Sentinel
group: after a failover the old one answers READONLY or hangs up, and either way the next
call connects afresh.  Redis Cluster is not supported: a batch has keys of many slots.
"""

import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from itertools import count
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from ratelimit.policy import Ask, Decision, Policy
from ratelimit.redis_line import Command, Line, Place, Refused
from ratelimit.store import ASKS_MAX, StoreAway

T = TypeVar("T")

CALLS_MAX: Final = 8
"""At once, each on a connection of its own: a limiter has two that somebody waits for, up to four given up, and a beat."""

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
        url: redis://, rediss:// or unix://, with what redis-py takes there (user, password, db, certificates).
        prefix: of the keys made here; those of asks come complete.
        connect_timeout_s: for a connection with its handshake.
        give_up_s: a call that has no answer then raises StoreAway.  Its connection is closed, so this is no deadline
            for a decision: who cannot wait stops waiting, and the connection lives.

    Raises: ValueError: the url is none.
    """

    def __init__(self, url: str, *, prefix: str = "", connect_timeout_s: float = 1.0, give_up_s: float = 5.0) -> None:
        self._place = Place(url)
        self._workers_key = f"{prefix}workers".encode()
        self._connect_timeout_s, self._give_up_s = connect_timeout_s, give_up_s
        self._calls = 0
        self._idle: list[Line] = []
        self._busy: set[Line] = set()
        self._is_closed = False

    async def decide(self, asks: Sequence[Ask], *, now_us: int | None = None) -> Sequence[Decision]:
        """See Store.  `now_us` is for tests: an instant ahead of Redis' clock, which else would expire keys at once."""
        assert 1 <= len(asks) <= ASKS_MAX, len(asks)
        keys, argument = written(asks, now_us)
        reply = await self._on_a_line(lambda line: _TAKE.run(line, (len(keys), *keys, argument)))
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
        reply = await self._on_a_line(lambda line: _BEAT.run(line, arguments))
        if not isinstance(reply, int):
            raise StoreAway(f"no answer of beat.lua: {reply!r}")
        return reply

    async def facts(self) -> Facts:
        """What the server says of itself.  Raises StoreAway."""
        return await self._on_a_line(_read_facts)

    async def close(self) -> None:
        """Let go of connections; calls in flight raise StoreAway now."""
        self._is_closed = True
        for line in [*self._idle, *self._busy]:
            line.close()
        self._idle.clear()

    async def _on_a_line(self, talk: Callable[[Line], Awaitable[T]]) -> T:
        """What `talk` returns, which has a connection to itself.

        Raises:
            StoreAway: as `talk` does; or there is no contact, CALLS_MAX are out already, or this store is closed.
        """
        if self._is_closed:
            raise StoreAway("this store is closed")
        if self._calls >= CALLS_MAX:
            raise StoreAway(f"{CALLS_MAX} calls to Redis have no answer yet")
        self._calls += 1
        try:
            line = await self._line()
            self._busy.add(line)
            try:
                answer = await talk(line)
            except BaseException:  # a caller that is cancelled, too: its reply is still to come
                line.close()
                raise
            finally:
                self._busy.discard(line)
            self._idle.append(line)
            return answer
        finally:
            self._calls -= 1

    async def _line(self) -> Line:
        """The last that was used and is still open, or a new one."""
        while self._idle:
            line = self._idle.pop()
            if line.is_open:
                return line
        line = await self._place.connect(self._connect_timeout_s, self._give_up_s)
        if self._is_closed:
            line.close()
        return line


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


class _Script:
    """A Lua script, known to the server by its hash once it has run there."""

    def __init__(self, name: str) -> None:
        self._source = files("ratelimit").joinpath("lua", name).read_bytes()
        self._sha = hashlib.sha1(self._source, usedforsecurity=False).hexdigest()

    async def run(self, line: Line, arguments: Command) -> Any:
        try:
            return await line.ask(("EVALSHA", self._sha, *arguments))
        except Refused as refused:
            if not refused.is_unknown_script:
                raise
            # Forgotten by a restart, a failover, SCRIPT FLUSH.  It did not run, so this is no second time.
            return await line.ask(("EVAL", self._source, *arguments))


_TAKE: Final = _Script("take.lua")
_BEAT: Final = _Script("beat.lua")


async def _read_facts(line: Line) -> Facts:
    text = (await line.ask(("INFO",))).decode()
    said = dict(row.split(":", 1) for row in text.splitlines() if ":" in row)
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
