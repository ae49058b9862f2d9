"""The path of one request: route, admission, identity, body, check, delivery, answer.

Decided here: the order of these, and what a request's head must look like (its
body's part of it: body.py).  Cheap before dear: what the head alone can refuse is
refused before the signature, the signature before the body.

    head ─▶ admit ─▶ identity ─▶ body (deadline, rate, size) ─▶ check ─▶ deliver ─▶ answer
"""

import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from aiohttp import web
from aiohttp.http import HttpVersion, HttpVersion10, HttpVersion11
from multidict import CIMultiDictProxy

from gateway import logs
from gateway.admit import Admission
from gateway.board import Slot
from gateway.body import Bodies, BodyHead, read_head, sized
from gateway.browser import Browser
from gateway.check import CheckedSignup, CheckedSync, check_signup, check_sync
from gateway.clock import Clock
from gateway.config import Http
from gateway.connection import Connection
from gateway.core.address import Proxies
from gateway.core.event import Forge
from gateway.core.head import PlainJoin, PlainLook, read_join, read_look, read_sync
from gateway.core.kept import Kept
from gateway.core.overload import End
from gateway.core.receipt import Outcome, Receipt, Settled, durability, withheld
from gateway.core.ticket import Pass
from gateway.cors import SHARED, Cors
from gateway.deliver import Deliverer
from gateway.documents import Document, Documents
from gateway.errors import PROBLEMS, Refusal
from gateway.identity import Identity, Member
from gateway.limits import Limits, Paid
from gateway.metrics import ROUTES
from gateway.reply import Answer, Replies
from gateway.room import WaitingRoom
from gateway.rooms import JOIN_BYTES_MAX, PASS_HEADER, Asker, Rooms
from gateway.whereabouts import PATH as RECEIPTS_PATH
from gateway.whereabouts import Whereabouts

Handler = Callable[[web.BaseRequest], Awaitable[Answer]]
_GET: Final = ("GET", "HEAD")
_POST: Final = ("POST",)


class Route(NamedTuple):
    """What stands at one path."""

    name: str  # in metrics
    methods: tuple[str, ...]  # empty: any
    handler: Handler


class Front:
    """The public port of one worker."""

    def __init__(
        self,
        settings: Http,
        *,
        admission: Admission,
        identity: Identity,
        limits: Limits,
        proxies: Proxies,
        deliverer: Deliverer,
        forge: Forge,
        documents: Documents,
        replies: Replies,
        whereabouts: Whereabouts,
        clock: Clock,
        slot: Slot,
        room: WaitingRoom | None = None,
    ) -> None:
        """Args: room: None where sign-ups need no pass."""
        self._settings = settings
        self._admission = admission
        self._identity = identity
        self._limits = limits
        self._proxies = proxies
        self._deliverer = deliverer
        self._forge = forge
        self._documents = documents
        self._replies = replies
        self._whereabouts = whereabouts
        self._clock = clock
        self._routes = {
            "/v1/syncs": Route("syncs", _POST, self._sync),
            "/v1/signups": Route("signups", _POST, self._signup),
            "/v1/notices": Route("notices", _GET, self._notices),
            "/v1/openapi.json": Route("openapi", _GET, self._openapi),
        }
        self._receipts = Route("receipts", _GET, self._receipt)
        self._counts = {name: {int(status): counter for status, counter in slot.counters_by("sluicegate_requests_total", name).items()} for name in ROUTES}
        self._sample_counts = slot.counters_by("sluicegate_events_total", "syncs")
        self._signup_counts = slot.counters_by("sluicegate_events_total", "signups")
        self._refusals = slot.counters_by("sluicegate_refusals_total")
        self._bodies = Bodies(settings, clock, slot)
        self._cors = Cors(())
        self._rooms: Rooms | None = None
        self._looks = self._joins = _NEVER  # how a request begins that `at_once` may answer, overload or not
        if room is not None:
            self._open(room)
        self.closes_connections = False

    def _open(self, room: WaitingRoom) -> None:
        """The paths of the waiting room, and what else it changes."""
        rooms = self._rooms = Rooms(
            room,
            self._settings,
            admission=self._admission,
            limits=self._limits,
            replies=self._replies,
            bodies=self._bodies,
            read=self._read,
            address_of=self._address,
        )
        self._cors = Cors(room.settings.cors_origins)
        self._looks, self._joins = f"GET {rooms.place_path} ".encode(), f"POST {rooms.tickets_path} ".encode()
        browser = Browser(rooms, self._replies, self._bodies)
        self._routes |= {
            rooms.path: Route("sign", _GET, rooms.sign),
            rooms.tickets_path: Route("tickets", _POST, rooms.tickets),
            rooms.place_path: Route("place", _GET, rooms.place),
            f"{rooms.path}/passes": Route("passes", _POST, rooms.passes),
            browser.path: Route("page", (*_GET, *_POST), browser.page),
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; nothing it can contain makes this raise."""
        name, methods, handler = self._route(request.raw_path)
        try:
            _check_head(request.version, request.raw_path, request.headers)
            if request.method in methods or not methods:
                response = await handler(request)
            else:
                response = self._other_method(name, methods, request)
        except ConnectionError:
            raise  # the client is gone; aiohttp closes what is left
        except Exception as exc:  # noqa: BLE001 - the last door
            response = self._failed(name, exc)
        headers = request.headers
        if "Upgrade" in headers or ("Expect" in headers and not request.content.is_eof()):
            # Who was told no before its body need not send it: what comes next may be that body or not.
            # An offer to speak another protocol (Java's client and curl --http2 make one) is ignored, as RFC 9110 7.8 allows;
            # but the parser drops or keeps what follows such a request, so it is the last.
            response.force_close()
        return self._finished(name, response, headers.get("Origin", "")).as_response()

    def _finished(self, name: str, answer: Answer, origin: str) -> Answer:
        """Counted, and with what a web page of elsewhere has to be told."""
        if self.closes_connections:
            answer.force_close()
        if self._cors.is_on and name in SHARED:  # without an Origin too: a cache may hand the answer to who has one
            answer.add_headers(self._cors.headers(origin))
        self._counts[name][answer.status].add()
        return answer

    def _failed(self, name: str, exc: Exception) -> Answer:
        """A refusal; or a bug, which answers 500 and says nothing of itself."""
        if isinstance(exc, Refusal):
            return self._refuse(exc)
        logs.error("a request failed", exc=exc, route=name)
        # Nobody knows how far it came.
        return self._refuse(Refusal("internal", "an error that is ours", members={"outcome": "unknown"}, close=True))

    # What is answered without a parser: most of all that comes at 06:00, and aiohttp's part of it would cost as much as ours

    def may_answer(self, segment: bytes) -> bool:
        """The quick look, whether `at_once` could have something to say."""
        return segment.startswith((self._looks, self._joins)) or not self._admission.is_open

    def at_once(self, segment: bytes, peer_address: str, *, is_kept: bool) -> bytes | Coroutine[Any, Any, Answer] | None:
        """The whole answer to a request before it is even parsed, or what will make it, never raising; None: see `handle`.

        Only for heads without anything odd, on connections that stay: whatever else there is to say, `handle` says it.
        """
        rooms = self._rooms
        if self.closes_connections:
            return None
        if rooms is None or not segment.startswith((self._looks, self._joins)):
            return self.turned_away(segment)
        if segment.startswith(self._looks):
            look = read_look(segment)
            return None if look is None or not _is_host(look.host) else self._place_at_once(rooms, look)
        plain = read_join(segment)
        if plain is None or not _is_host(plain.host) or len(plain.body) > JOIN_BYTES_MAX:
            return None
        return self._join_at_once(rooms, plain, peer_address, is_kept=is_kept)

    def _place_at_once(self, rooms: Rooms, look: PlainLook) -> bytes | Coroutine[Any, Any, Answer] | None:
        try:
            answer = rooms.place_at_once(look.ticket)
            return None if answer is None else self._finished("place", answer, look.origin).text()
        except Exception as exc:  # noqa: BLE001 - as in `handle`
            return self._failed_at_once("place", exc, look.origin)

    async def _failed_at_once(self, name: str, exc: Exception, origin: str) -> Answer:
        """Not as bytes: only what is made in its own time may end the connection."""
        return self._finished(name, self._failed(name, exc), origin)

    async def _join_at_once(self, rooms: Rooms, plain: PlainJoin, peer_address: str, *, is_kept: bool) -> Answer:
        try:
            address = self._client(peer_address, [plain.forwarded] if plain.forwarded else ())
            answer = await rooms.join_at_once(plain, Asker(address, is_kept))
        except Exception as exc:  # noqa: BLE001 - as in `handle`
            answer = self._failed("tickets", exc)
        return self._finished("tickets", answer, plain.origin)

    def turned_away(self, segment: bytes) -> bytes | None:
        """The whole answer to a sync that overload refuses; None: see `handle`.

        Parsing it, making a request of it and waking a handler costs more than all the rest of a refusal.
        """
        head = None if self.closes_connections else read_sync(segment)
        if head is None or head.body_bytes > self._settings.body_bytes_max or not _is_host(head.host):
            return None
        body_head = sized(head.body_bytes, self._settings.body_bytes_max, self._settings.gzip_ratio_max, is_gzip=head.is_gzip)
        refusal = self._admission.turned_away_at_once("syncs", body_head.unfolded_bytes_max, head.authorization)
        if refusal is None:
            return None
        self._refusals[refusal.problem.code].add()
        self._counts["syncs"][refusal.problem.status].add()
        return self._replies.raw(refusal, closes=False)

    def _other_method(self, name: str, methods: tuple[str, ...], request: web.BaseRequest) -> Answer:
        if request.method == "OPTIONS" and self._cors.is_on and name in SHARED:
            return self._replies.preflight(methods)
        allow = ", ".join(methods)
        raise Refusal("method-not-allowed", f"want {allow}", headers=[("Allow", allow)])

    def _refuse(self, refusal: Refusal) -> Answer:
        self._refusals[refusal.problem.code].add()
        return self._replies.refusal(refusal)

    def _route(self, target: str) -> Route:
        """What stands at a request target; what is nowhere has a handler that says so."""
        route = self._routes.get(target)
        if route is not None:
            return route
        path = target.partition("?")[0]
        if path in self._routes:
            return self._routes[path]
        if path.startswith(RECEIPTS_PATH):
            return self._receipts
        code = path.removeprefix("/problems/")
        if code in PROBLEMS and code != path:
            return Route("problems", _GET, self._problem)
        return _NOWHERE

    # The two calls the product is for

    async def _sync(self, request: web.BaseRequest) -> Answer:
        kind = "syncs"
        connection: Connection = request.protocol  # type: ignore[assignment]
        body_head = read_head(request.headers, self._settings.body_bytes_max, self._settings.gzip_ratio_max)
        authorization = request.headers.get("Authorization")
        cost_bytes = self._admission.admit(kind, body_head.unfolded_bytes_max, authorization or "", is_kept=connection.is_kept)
        end, began_s = End.IGNORED, self._clock.monotonic_s()
        try:
            member = self._identity.member(authorization, self._clock.now_us() / 1e6)
            address = self._address(request)
            paid = await self._limits.charge(kind, address, member.user)
            body = self._bodies.whole(request, body_head)
            if body is None:
                body = await self._read(request, body_head)
                began_s = self._clock.monotonic_s()
            checked = check_sync(self._forge, member, body, self._clock.now_us())
            settled, wait_s, paid_samples = await self._settled(checked, member, address)
            outcomes = settled.outcomes
            end = _end(outcomes)
        except Refusal as refusal:
            self._spread(refusal, cost_bytes)
            raise
        finally:
            self._admission.done(cost_bytes, end, began_s)
        told = checked.receipt(outcomes)
        if end is End.LOST or told.has_retry:
            self._give_back(outcomes, paid_samples, paid if told.status == 503 else None)
        for entry in told.results:
            if entry.code not in _COUNTED_ELSEWHERE:
                self._sample_counts[entry.status].add()
        return self._told(told, settled.kept, wait_s)

    async def _settled(self, checked: CheckedSync, member: Member, address: str) -> tuple[Settled, int, Paid | None]:
        """What became of each record, in how many seconds more samples of this user may pass, and what was paid for them."""
        records = checked.records
        if not records:
            return _NOTHING, 0, None
        backfill = self._admission.shed(checked)
        granted, wait_s, paid = len(records) - len(backfill), 0, None
        if granted > 1:  # the first is paid for with the request
            granted, wait_s, paid = await self._limits.samples(granted, address, member.user)
        if granted == len(records):
            return await self._deliverer.deliver("syncs", records, member.key_hash), 0, paid
        unsent = withheld([sample.seq for sample in checked.recorded], backfill, granted)
        for outcome in unsent.values():
            self._sample_counts[outcome.value].add()
        sent = [record for position, record in enumerate(records) if position not in unsent]
        some = await self._deliverer.deliver("syncs", sent, member.key_hash) if sent else _NOTHING
        told = iter(some.outcomes)
        outcomes = [unsent[position] if position in unsent else next(told) for position in range(len(records))]
        return Settled(outcomes, some.kept), wait_s, paid

    def _told(self, told: Receipt, kept: Kept | None, wait_s: int) -> Answer:
        if told.status == 202:
            assert kept is not None, told
            retry_after_s = max(self._admission.retry_after_s(), wait_s) if told.has_retry else None
            return self._replies.receipt(told, self._whereabouts.receipt(kept), retry_after_s)
        if told.status == 503:
            return self._refuse(self._replies.none_durable(told, max(self._admission.retry_after_s(), wait_s)))
        return self._refuse(self._replies.none_valid(told))

    async def _signup(self, request: web.BaseRequest) -> Answer:
        kind = "signups"
        body_head = read_head(request.headers, self._settings.signup_bytes_max, self._settings.gzip_ratio_max)
        connection: Connection = request.protocol  # type: ignore[assignment]
        address = self._address(request)
        # By their pass, else by their address: whatever else a client may write, it could draw its lot again with.
        token = request.headers.get(PASS_HEADER, address) if self._rooms is not None else address
        cost_bytes = self._admission.admit(kind, body_head.unfolded_bytes_max, token, is_kept=connection.is_kept)
        end, began_s = End.IGNORED, self._clock.monotonic_s()
        try:
            holder = None if self._rooms is None else self._rooms.holder(request, self._clock.now_us())
            paid = await self._limits.charge(kind, address, "" if holder is None else holder.name)
            body = self._bodies.whole(request, body_head)
            if body is None:
                body = await self._read(request, body_head)
                began_s = self._clock.monotonic_s()
            signup_id, record = self._checked_signup(body, holder)
            if self._rooms is not None and holder is not None:
                await self._rooms.claim(holder, signup_id)
            settled = await self._deliverer.deliver(kind, [record], None)
            end = _end(settled.outcomes)
        except Refusal as refusal:
            self._spread(refusal, cost_bytes)
            raise
        finally:
            self._admission.done(cost_bytes, end, began_s)
        if settled.kept is not None:
            if self._rooms is not None and holder is not None:
                self._rooms.room.signed_up(holder)
            return self._replies.signed_up(signup_id, durability(settled.outcomes), self._whereabouts.receipt(settled.kept))
        return self._not_signed_up(settled.outcomes[0], paid)

    def _not_signed_up(self, outcome: Outcome, paid: Paid | None) -> Answer:
        if outcome is Outcome.REFUSED:
            errors = [{"pointer": "", "detail": "refused-by-kafka"}]
            raise Refusal("invalid", "the store refuses this application for good", members={"errors": errors})
        self._limits.refund(paid)
        known = "unknown" if outcome is Outcome.UNKNOWN else "none"
        raise Refusal("not-durable", _NOT_DURABLE[known], retry_after_s=self._admission.retry_after_s(), members={"outcome": known})

    def _checked_signup(self, body: bytes, holder: Pass | None) -> CheckedSignup:
        key = None if self._rooms is None or holder is None else self._rooms.key(holder)
        try:
            return check_signup(self._forge, body, self._clock.now_us(), key)
        except Refusal as refusal:
            if refusal.problem.code == "invalid":  # else it was no application at all
                self._signup_counts["invalid"].add()
            raise

    def _spread(self, refusal: Refusal, cost_bytes: int) -> None:
        """Who is refused for a limit of all comes back spread, as with any overload."""
        if refusal.problem.code == "overloaded":
            refusal.retry_after_s = max(refusal.retry_after_s or 0, self._admission.turned_away(cost_bytes))

    def _give_back(self, outcomes: Sequence[Outcome], paid_samples: Paid | None, paid: Paid | None) -> None:
        """Refund the samples the store did not take in time, and the request where nothing of it was kept."""
        if lost := _lost(outcomes):
            self._limits.refund(paid_samples, lost)
        self._limits.refund(paid)

    async def _read(self, request: web.BaseRequest, head: BodyHead) -> bytes:
        """A body that is not all here yet."""
        self._admission.awaits_body()
        try:
            return await self._bodies.read(request, head)
        finally:
            self._admission.has_body()

    def _address(self, request: web.BaseRequest) -> str:
        """The client's address, as our own proxies tell it."""
        connection: Connection = request.protocol  # type: ignore[assignment]
        return self._client(connection.peer.address, request.headers.getall("X-Forwarded-For", ()))

    def _client(self, peer_address: str, forwarded: Sequence[str]) -> str:
        return self._proxies.client(peer_address, forwarded) if forwarded else peer_address

    # What became of it since

    async def _receipt(self, request: web.BaseRequest) -> Answer:
        return self._replies.json(200, self._whereabouts.of(request.raw_path.partition("?")[0].removeprefix(RECEIPTS_PATH)))

    # Documents

    async def _notices(self, request: web.BaseRequest) -> Answer:
        return self._document(request, self._documents.notices, self._documents.notices_max_age_s)

    async def _openapi(self, request: web.BaseRequest) -> Answer:
        return self._document(request, self._documents.openapi, 3600)

    async def _problem(self, request: web.BaseRequest) -> Answer:
        code = request.raw_path.partition("?")[0].removeprefix("/problems/")
        is_korean = request.headers.get("Accept-Language", "").lower().startswith("ko")
        return self._document(request, self._documents.problem(code, "ko" if is_korean else "en"), 3600)

    def _document(self, request: web.BaseRequest, document: Document, max_age_s: int) -> Answer:
        if_none_match = request.headers.get("If-None-Match", "")
        return self._replies.document(document.content_type, document.body, etag=document.etag, max_age_s=max_age_s, if_none_match=if_none_match)


def _check_head(version: HttpVersion, target: str, headers: CIMultiDictProxy[str]) -> None:
    """What the parser lets through and we do not.  Each closes the connection: what follows may be anything."""
    is_current = version == HttpVersion11
    if not is_current and version != HttpVersion10:
        raise Refusal("bad-request", "want HTTP/1.1", close=True)
    if target[:1] != "/":
        raise Refusal("bad-request", "want a request target that begins with /", close=True)
    hosts = headers.getall("Host", ())
    if len(hosts) != 1 and (hosts or is_current):
        raise Refusal("bad-request", "want exactly one Host", close=True)
    if hosts and not _is_host(hosts[0]):
        raise Refusal("bad-request", "want a Host of name and port", close=True)
    coding = headers.get("Transfer-Encoding")
    if coding is not None and (coding.lower() != "chunked" or not is_current):
        # Whatever stands in front of us may read an empty coding, a list or HTTP/1.0 otherwise, and see another body.
        raise Refusal("bad-request", "want no Transfer-Encoding but chunked, in HTTP/1.1", close=True)
    if len(headers.getall("Authorization", ())) > 1:
        raise Refusal("bad-request", "want one Authorization", close=True)
    expect = headers.get("Expect")
    if expect is not None and expect.lower() != "100-continue":
        raise Refusal("bad-request", "want no Expect but 100-continue")


def _lost(outcomes: Sequence[Outcome]) -> int:
    """How many records the store did not take in time."""
    return outcomes.count(Outcome.UNKNOWN) + outcomes.count(Outcome.WITHDRAWN)


def _end(outcomes: Sequence[Outcome]) -> End:
    """What delivery's answer says of the store."""
    if Outcome.DURABLE in outcomes:
        return End.ANSWERED
    if Outcome.SPOOLED in outcomes:
        return End.SPOOLED
    return End.LOST if _lost(outcomes) else End.IGNORED


@lru_cache
def _is_host(text: str) -> bool:
    return len(text) <= _HOST_CHARS_MAX and _HOST.fullmatch(text) is not None


async def _nowhere(_: web.BaseRequest) -> Answer:
    raise Refusal("not-found", "no such path")


_COUNTED_ELSEWHERE: Final = frozenset({"not-durable", "refused-by-kafka", "rate-limited", "overloaded"})
_HOST_CHARS_MAX: Final = 300  # a name has at most 253
_HOST: Final = re.compile(r"[\w.~!$&'()*+,;=%:\[\]-]*", re.ASCII)  # RFC 3986 host and port; empty is allowed
_NOT_DURABLE: Final = {
    "none": "not sent to the store in time; nothing of this request was kept",
    "unknown": "not acknowledged in time; it may be stored all the same",
}
_NEVER: Final = b"\0"  # begins no request
_NOTHING: Final = Settled((), None)
_NOWHERE: Final = Route("none", (), _nowhere)
