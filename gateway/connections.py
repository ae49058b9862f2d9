"""All connections of one worker: who may connect, and how long each may keep us waiting.

Decided here: how many connections are open, in all and of one place; how long a
head may take, and how long a client may leave its answers unread.  The body's
deadline is in body.py, where the body is read.

aiohttp counts no connections, gives a head that trickles in 75 s, and waits for
ever for a client that does not read.  No request has a timer of its own: the
worker sweeps twice a second.
"""

from collections import Counter as Tally
from typing import Final, Protocol

from gateway.board import Slot
from gateway.config import Http
from gateway.core.address import Peer, Proxies
from gateway.errors import Refusal
from gateway.reply import Replies

_RETRY_AFTER_S: Final = 5


class Held(Protocol):
    """What is asked of a connection: connection.py has the real ones."""

    @property
    def is_idle(self) -> bool:
        """No request is in hand, and none waits to be."""

    def end(self, refusal: Refusal) -> None:
        """Answer what never became a request, and close."""

    def abort(self) -> None:
        """End it though something is not read."""


class Connections:
    """All connections of one worker."""

    def __init__(self, settings: Http, replies: Replies, slot: Slot) -> None:
        self._settings = settings
        self._proxies = Proxies(settings.trusted_proxies)
        self._counts = slot.counters_by("sluicegate_connections_total")
        self._refusals = slot.counters_by("sluicegate_refusals_total")
        self._gauge = slot.gauge("sluicegate_connections")
        self._by_place: Tally[str] = Tally()
        self._total = 0
        self._heads: dict[Held, float] = {}  # that began and are not complete, since when
        self._unread: dict[Held, float] = {}  # answers that the client does not take, since when
        self.replies = replies

    def counted(self, refusal: Refusal) -> Refusal:
        """The same, on the board: accept.py never sees a request that did not begin."""
        self._refusals[refusal.problem.code].add()
        return refusal

    def enter(self, peer: Peer) -> Refusal | None:
        """Count a connection in, or say why it must go.  The proxies' connections carry many people."""
        if self._total >= self._settings.connections_max:
            self._counts["over_total"].add()
            return self.counted(Refusal("overloaded", "more connections are open than this server holds", retry_after_s=_RETRY_AFTER_S))
        if self._by_place[peer.place] >= self._settings.connections_per_address_max and not self._proxies.is_trusted(peer.address):
            self._counts["over_address"].add()
            return self.counted(Refusal("too-many-connections", "close idle connections first", retry_after_s=_RETRY_AFTER_S))
        self._counts["accepted"].add()
        self._total += 1
        self._by_place[peer.place] += 1
        self._gauge.set(self._total)
        return None

    def leave(self, peer: Peer) -> None:
        """Count a connection out that `enter` let in."""
        self._total -= 1
        self._by_place[peer.place] -= 1
        if not self._by_place[peer.place]:
            del self._by_place[peer.place]
        self._gauge.set(self._total)

    def head_began(self, connection: Held, now_s: float) -> None:
        """A head is incomplete; its time runs from its first byte."""
        self._heads.setdefault(connection, now_s)

    def head_ended(self, connection: Held) -> None:
        """The head is complete, or its connection is gone."""
        self._heads.pop(connection, None)

    def has_begun(self, connection: Held) -> bool:
        """Whether a head of this connection is incomplete."""
        return connection in self._heads

    def unread(self, connection: Held, now_s: float) -> None:
        """Its client does not take what is written; its time runs from here."""
        self._unread.setdefault(connection, now_s)

    def read(self, connection: Held) -> None:
        """Its client has taken most of it, or its connection is gone."""
        self._unread.pop(connection, None)

    def sweep(self, now_s: float) -> None:
        """End the connections whose time is up; the worker calls this twice a second."""
        late = []
        for connection, since_s in self._heads.items():
            if not connection.is_idle:
                # This head waits for the request before it: its time runs from when we listen to it.
                self._heads[connection] = now_s
            elif now_s - since_s >= self._settings.headers_timeout_s:
                late.append(connection)
        for connection in late:
            del self._heads[connection]
            connection.end(Refusal("request-timeout", "the request's head did not arrive in time"))
        for connection in [c for c, since_s in self._unread.items() if now_s - since_s >= self._settings.write_timeout_s]:
            del self._unread[connection]
            connection.abort()
