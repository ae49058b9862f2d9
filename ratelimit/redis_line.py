"""One connection to a Redis: one question at a time, and every failure of it a StoreAway.

The only file that knows the client libraries: redis-py for what a URL means, hiredis for
the bytes.  redis-py's own connection is not used: a question costs 20 µs more through its
stream and its deadlines, and it repeats what failed (measured: a script ran twice in a
server that had been paused).  Nothing is asked twice here.

A line that did not answer properly (an error of the server, a deadline, a caller who went
away) is closed for good, so no reply can be taken for that of a later question.  What was
asked then may have been done all the same.
"""

import asyncio
from typing import Any, Final, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection, parse_url

from ratelimit.store import StoreAway

_INCOMPLETE: Final = object()

Command = tuple[bytes | str | int, ...]


class Refused(StoreAway):
    """The server answered with an error; `str` is its text: READONLY, LOADING, BUSY, OOM, MISCONF, NOAUTH…"""

    @property
    def is_unknown_script(self) -> bool:
        """EVALSHA of what the server does not know, or forgot; nothing was run."""
        return str(self).startswith("NOSCRIPT")


class Place:
    """Where a Redis is, and how to get in.  Raises ValueError: the URL says neither, or something else."""

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = dict(parse_url(url))
        kind = options.pop("connection_class", Connection)
        try:
            # Never connected: it knows which options there are, and what they mean for TLS.
            self._meant: AbstractConnection = kind(**options)
        except TypeError as error:
            raise ValueError(f"redis url: {error}") from None

    async def connect(self, timeout_s: float, give_up_s: float) -> "Line":
        """A new line, its handshake done.

        Raises:
            StoreAway: not within `timeout_s`, or refused.
        """
        loop, meant = asyncio.get_running_loop(), self._meant
        line = Line(loop, give_up_s)
        try:
            async with asyncio.timeout(timeout_s):
                if isinstance(meant, UnixDomainSocketConnection):
                    await loop.create_unix_connection(lambda: line, meant.path)
                else:
                    tls = meant.ssl_context.get() if isinstance(meant, SSLConnection) else None
                    meant = cast("Connection", meant)
                    await loop.create_connection(lambda: line, meant.host, meant.port, ssl=tls)
                await self._introduce(line)
        except (OSError, TimeoutError, ValueError) as error:  # ValueError: a name DNS could never know
            line.close()
            raise StoreAway(f"no contact with Redis: {error or 'it took too long'}") from error
        except BaseException:
            line.close()
            raise
        return line

    async def _introduce(self, line: "Line") -> None:
        meant = self._meant
        if meant.password or meant.username:
            who = (meant.username,) if meant.username else ()
            await line.ask(("AUTH", *who, meant.password or ""))
        if int(meant.db or 0):
            await line.ask(("SELECT", int(meant.db)))
        if meant.client_name:
            await line.ask(("CLIENT", "SETNAME", meant.client_name))


class Line(asyncio.Protocol):
    """Open until `is_open` is False, which it never leaves again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, give_up_s: float) -> None:
        self.is_open = False
        self.run_id = ""  # of the server, once somebody has asked
        self._loop, self._give_up_s = loop, give_up_s
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Any] | None = None
        self._asked_at_s = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def ask(self, command: Command) -> asyncio.Future[Any]:
        """The answer, in time: bytes, an int or a list.  The future may be cancelled, which closes the line.

        The future raises:
            Refused: the server says no; the line stays open.
            StoreAway: the line was lost, nonsense came, or nothing for `give_up_s`.
        """
        assert self._answer is None or self._answer.done(), "one question at a time"
        answer = self._answer = self._loop.create_future()
        if not self.is_open or self._transport is None:
            answer.set_exception(StoreAway("the connection to Redis was closed"))
            return answer
        self._asked_at_s = self._loop.time()
        if self._watch is None:
            # One timer for all questions of `give_up_s`: one for each would cost a tenth of a call.
            self._watch = self._loop.call_later(self._give_up_s, self._look)
        self._transport.write(hiredis.pack_command(cast("Any", command)))  # its stub wants a tuple of one
        return answer

    def close(self) -> None:
        """Now, whatever is under way."""
        self._lose("the connection to Redis was closed")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio: ready to ask."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Of asyncio: some bytes; the answer may be complete with them."""
        try:
            self._reader.feed(data)
            reply = self._reader.gets()
        except hiredis.ProtocolError as error:
            self._lose(f"Redis sent nonsense: {error}")
            return
        if reply is _INCOMPLETE:
            return
        answer = self._answer
        if answer is None or answer.done() or self._reader.has_data():
            self._lose("Redis sent what nobody asked for")  # or the one who asked has gone
        elif isinstance(reply, hiredis.ReplyError):
            answer.set_exception(Refused(str(reply)))
        else:
            answer.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Of asyncio: it is over."""
        self._lose(f"the connection to Redis was lost: {error or 'it hung up'}")

    def _look(self) -> None:
        self._watch = None
        if self._answer is None or self._answer.done():
            return
        left_s = self._asked_at_s + self._give_up_s - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        else:
            self._lose(f"no answer from Redis for {self._give_up_s:g} s")

    def _lose(self, why: str) -> None:
        self.is_open = False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._transport is not None:
            self._transport.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(StoreAway(why))
