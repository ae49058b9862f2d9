"""Connections to one Redis, and the scripts that run over them; no call is ever repeated.

Decided here: when a connection is used again, and how a script gets to a server that does not
know it.  Not decided here: what is asked and what counts as an answer (redis_store.py, and the
waiting room of the gateway).

One server, or a name that follows the primary of a Sentinel group: after a failover the old one
answers READONLY or hangs up, and either way the next call connects afresh.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from ratelimit.redis_line import Command, Line, Place, Refused
from ratelimit.store import StoreAway

T = TypeVar("T")

CALLS_MAX: Final = 8
"""At once, each on a connection of its own: a limiter has two that somebody waits for, up to four given up, and a beat."""


class Pool:
    """Connections that are made when first asked for.

    Args:
        url: redis://, rediss:// or unix://, with what redis-py takes there (user, password, db, certificates).
        connect_timeout_s: for a connection with its handshake.
        give_up_s: a call that has no answer then raises StoreAway.  Its connection is closed, so this is no deadline
            for a decision: who cannot wait stops waiting, and the connection lives.

    Raises: ValueError: the url is none.
    """

    def __init__(self, url: str, *, connect_timeout_s: float, give_up_s: float) -> None:
        self._place = Place(url)
        self._connect_timeout_s, self._give_up_s = connect_timeout_s, give_up_s
        self._calls = 0
        self._idle: list[Line] = []
        self._busy: set[Line] = set()
        self._is_closed = False

    async def talk(self, talk: Callable[[Line], Awaitable[T]]) -> T:
        """What `talk` returns, which has a connection to itself.

        Raises:
            StoreAway: as `talk` does; or there is no contact, CALLS_MAX are out already, or this pool is closed.
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

    def close(self) -> None:
        """Let go of connections; calls in flight raise StoreAway now."""
        self._is_closed = True
        for line in [*self._idle, *self._busy]:
            line.close()
        self._idle.clear()

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


class Script:
    """A Lua script, known to the server by its hash once it has run there."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._sha = hashlib.sha1(source, usedforsecurity=False).hexdigest()

    async def run(self, line: Line, arguments: Command) -> Any:
        """Its answer.  Raises StoreAway; Refused, where the server or the script says no."""
        try:
            return await line.ask(("EVALSHA", self._sha, *arguments))
        except Refused as refused:
            if not refused.is_unknown_script:
                raise
            # Forgotten by a restart, a failover, SCRIPT FLUSH.  It did not run, so this is no second time.
            return await line.ask(("EVAL", self._source, *arguments))


async def said_of(line: Line, section: str = "") -> dict[str, str]:
    """What INFO says, or a section of it."""
    text = (await line.ask(("INFO", section) if section else ("INFO",))).decode()
    return dict(row.split(":", 1) for row in text.splitlines() if ":" in row)


async def run_id_of(line: Line) -> str:
    """Which process is at the other end, asked once: a server that was restarted or replaced is never on an old connection."""
    if not line.run_id:
        try:
            line.run_id = (await said_of(line, "server"))["run_id"]
        except (KeyError, AttributeError) as error:
            raise StoreAway(f"INFO says nothing of {error}") from error
    return line.run_id
