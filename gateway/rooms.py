"""The waiting room in HTTP: join, place, pass, sign.

Decided here: what each call reads of a request and what it is told.  Not decided here: the line itself
(room.py and core/), the browser's page (pages/, browser.py), whether overload or a quota refuses first
(admit.py, limits.py: joins alone; place, pass and sign are cheap and are the load at 06:00).

    POST /v1/rooms/{room}/tickets   {"join_id": uuid4} → 201, 200 for a repeat
    GET  /v1/rooms/{room}/place     Waiting-Room-Ticket, or the page's cookie; no round trip
    POST /v1/rooms/{room}/passes    the same; held until the turn → 201, or 429 not-your-turn
    GET  /v1/rooms/{room}           the sign over the door

Joins and questions for a place are most of what comes, and nearly always plain (core/head.py): then accept.py
asks `join_at_once` and `place_at_once`, which say the same.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.admit import Admission
from gateway.body import Bodies, BodyHead, read_head, sized
from gateway.config import Http
from gateway.connection import Connection
from gateway.core.head import PlainJoin
from gateway.core.overload import End
from gateway.core.place import Answer as Told
from gateway.core.place import closed_s, share_of
from gateway.core.sign import Sign
from gateway.core.ticket import Flaw, Pass, Provisional, Ticket
from gateway.errors import Refusal
from gateway.limits import Limits
from gateway.reply import Answer, Replies
from gateway.room import Came, NoEntry, Through, Wait, WaitingRoom

TICKET_HEADER: Final = "Waiting-Room-Ticket"
PASS_HEADER: Final = "Waiting-Room-Pass"  # noqa: S105 - a name
TICKET_S: Final = 7 * 86_400  # a browser keeps the place as long as a line may last
JOIN_BYTES_MAX: Final = 1_024
_PROVISIONAL_POLL_S: Final = 5.0  # give or take half: else all of an outage would come at once
_SIGN_MAX_AGE_S: Final = 1
_UUID4: Final = 4
_encode = msgspec.json.Encoder().encode


class Join(Struct, frozen=True, forbid_unknown_fields=False):
    """The body of a join.  The id is drawn by the phone, and kept like a password."""

    join_id: UUID


class Placed(Struct, frozen=True, omit_defaults=True, gc=False):
    """Where somebody is; most of all answers at 06:00, so written without a dict."""

    state: str
    ahead: int
    p50_s: int
    p90_s: int
    poll_after_s: float
    sign_age_ms: int
    reason: str = ""
    ticket: str = ""


class SignDocument(Struct, frozen=True):
    """What stands over the door, for everybody."""

    room: str
    state: str
    rate_per_s: float
    reason: str
    since: str
    waiting: int
    called: int
    tail: int
    p90_s: int
    message: str


_join = msgspec.json.Decoder(Join).decode


class Asker(NamedTuple):
    """Who sends a request, as far as overload and quotas ask."""

    address: str
    is_kept: bool  # the connection has had one before


class Rooms:
    """The calls of one room in one worker."""

    def __init__(
        self,
        room: WaitingRoom,
        settings: Http,
        *,
        admission: Admission,
        limits: Limits,
        replies: Replies,
        bodies: Bodies,
        read: Callable[[web.BaseRequest, BodyHead], Awaitable[bytes]],
        address_of: Callable[[web.BaseRequest], str],
    ) -> None:
        """Args: read: a body that is not all here yet, without taking anybody's turn (accept.py)."""
        self.room = room
        self._settings = settings
        self._admission = admission
        self._limits = limits
        self._replies = replies
        self._bodies = bodies
        self._read = read
        self._address_of = address_of
        name = room.settings.name
        self.path = f"/v1/rooms/{name}"
        self.tickets_path, self.place_path = f"{self.path}/tickets", f"{self.path}/place"
        self.cookie = f"__Host-ticket-{name}"
        self._signed: Sign | None = None  # what the next two were made of
        self._sign, self._etag = b"", ""
        self._shut_out = 0  # people a closed room gave no place; spreads when they come again
        self._location = (("Location", self.place_path),)
        self._link = (("Link", f'<{self.path}>; rel="up"'),)

    # The calls

    async def tickets(self, request: web.BaseRequest) -> Answer:
        """Join the line."""
        head = read_head(request.headers, JOIN_BYTES_MAX, self._settings.gzip_ratio_max)

        async def join() -> bytes:
            body = self._bodies.whole(request, head)
            return self._join_hash(await self._read(request, head) if body is None else body)

        return await self._ticket(self.asker(request), head, join)

    async def join_at_once(self, plain: PlainJoin, asker: Asker) -> Answer:
        """`tickets`, of a request that is plain and whole."""
        head = sized(len(plain.body), JOIN_BYTES_MAX, self._settings.gzip_ratio_max, is_gzip=plain.is_gzip)

        async def join() -> bytes:
            return self._join_hash(self._bodies.unfolded(plain.body, head))

        return await self._ticket(asker, head, join)

    async def _ticket(self, asker: Asker, head: BodyHead, join: Callable[[], Awaitable[bytes]]) -> Answer:
        came = await self.admitted(asker, head.unfolded_bytes_max, join)
        if came is NoEntry.CLOSED:
            self._shut_out += 1
            raise Refusal("room-closed", "nobody new may join; who has a place keeps it", retry_after_s=closed_s(share_of(self._shut_out)))
        if isinstance(came, NoEntry):
            raise Refusal("line-full", "as many wait as this line takes", retry_after_s=self._admission.retry_after_s())
        through = await self.room.enter(came)
        status, text = 201 if came.is_new else 200, self.ticket_text(came.ticket)
        if through is None and isinstance(came.ticket, Ticket):
            return self._replies.json(status, self._placed(came.ticket, text), self._location)
        return self._replies.json(status, {"ticket": text, **self._told(came.ticket, through)}, self._location)

    async def admitted(self, asker: Asker, body_bytes: int, join: Callable[[], Awaitable[bytes]]) -> Came | NoEntry:
        """A place, if overload and quotas let this one join.  Args: join: its hash, not asked for before they do.

        Not counted as in flight while it is held for its slot: that time is the door's, not the store's.
        """
        cost_bytes = self._admission.admit("joins", body_bytes, asker.address, is_kept=asker.is_kept)
        try:
            await self._limits.charge("joins", asker.address)
            return await self.room.join(await join())
        finally:
            self._admission.done(cost_bytes, End.IGNORED, 0.0)

    async def place(self, request: web.BaseRequest) -> Answer:
        """Where am I?"""
        self._not_when_draining(request)
        ticket = self.ticket(request)
        if isinstance(ticket, Provisional):
            ticket = await self.room.placed(ticket)
            return self._replies.json(200, {"ticket": self.ticket_text(ticket), **self._told(ticket)}, self.kept(request, ticket))
        return self._replies.json(200, self._placed(ticket))

    def place_at_once(self, text: str) -> Answer | None:
        """`place`, where nothing but that is to be said; None: ask there."""
        ticket = self.room.office.read_ticket(text)
        if self._admission.is_draining or not isinstance(ticket, Ticket) or self.is_revoked(ticket):
            return None
        return self._replies.json(200, self._placed(ticket))

    async def passes(self, request: web.BaseRequest) -> Answer:
        """Let me in."""
        self._not_when_draining(request)
        answer = await self.room.knock(self.ticket(request))
        if isinstance(answer, Wait):
            raise self.not_your_turn(answer)
        return self._replies.json(201, {"pass": answer.pass_text, "expires_at": _instant(answer.expires_us), "released_at": _exact(answer.released_us)})

    async def sign(self, request: web.BaseRequest) -> Answer:
        """The sign over the door; the same bytes for everybody within a tick."""
        if self._signed is not self.room.sign:
            # Made once a tick, asked for by everybody.
            self._signed, self._sign = self.room.sign, _encode(self.sign_document())
            self._etag = f'"{blake2b(self._sign, digest_size=8).hexdigest()}"'
        if_none_match = request.headers.get("If-None-Match", "")
        return self._replies.document("application/json", self._sign, etag=self._etag, max_age_s=_SIGN_MAX_AGE_S, if_none_match=if_none_match)

    # What they say

    def sign_document(self) -> SignDocument:
        """The sign in words and people a second."""
        sign = self.room.sign
        end = self.room.look_ahead(sign.tail)
        return SignDocument(
            self.room.settings.name,
            sign.state,
            round(sign.pace.rate_per_s, 3),
            sign.reason,
            _instant(sign.pace.since_us),
            sign.waiting,
            sign.called,
            sign.tail,
            round(end.p90_s),
            sign.acts.message,
        )

    def _told(self, ticket: Ticket | Provisional, through: Through | None = None) -> dict[str, object]:
        """The members of place."""
        if through is not None:
            passed = {"pass": through.pass_text, "pass_expires_at": _instant(through.expires_us), "released_at": _exact(through.released_us)}
            return {**_members(Told("called", 0, 0.0, 0.0, 0.0, is_near=False), "through"), "sign_age_ms": self.room.sign_age_ms, **passed}
        if isinstance(ticket, Provisional):
            may_knock = self.room.provisional_may_knock
            after_s = 0.0 if may_knock else round(_PROVISIONAL_POLL_S * (0.5 + share_of(int.from_bytes(ticket.join, "big"))), 1)
            return {"state": "called" if may_knock else "provisional", "poll_after_s": after_s, "sign_age_ms": self.room.sign_age_ms}
        return {name: value for name, value in msgspec.structs.asdict(self._placed(ticket)).items() if value != ""}

    def _placed(self, ticket: Ticket, text: str = "") -> Placed:
        room = self.room
        answer = room.look(ticket)
        return Placed(answer.state, *_rounded(answer), room.sign_age_ms, room.slowed_by, text)

    def not_your_turn(self, answer: Wait) -> Refusal:
        """Come again, and where you are meanwhile."""
        members = _members(answer.answer) if answer.answer is not None else {"state": "provisional"}
        return Refusal("not-your-turn", "the place is kept", retry_after_s=answer.retry_after_s, members=members)

    # Who asks

    def asker(self, request: web.BaseRequest) -> Asker:
        """Of an ordinary request."""
        connection: Connection = request.protocol  # type: ignore[assignment]
        return Asker(self._address_of(request), connection.is_kept)

    def ticket_text(self, ticket: Ticket | Provisional) -> str:
        """Signed."""
        if isinstance(ticket, Ticket):
            return self.room.office.ticket(ticket.place, ticket.joined_us)
        return self.room.office.provisional(ticket.join, ticket.joined_us)

    def ticket(self, request: web.BaseRequest) -> Ticket | Provisional:
        """The ticket in the header, else in the page's cookie.

        Raises:
            Refusal: ticket-invalid, ticket-room, ticket-epoch or ticket-revoked, with a Link to the room.
        """
        text = request.headers.get(TICKET_HEADER) or self.cookie_text(request, self.cookie)
        found = self.room.office.read_ticket(text)
        if found is Flaw.ROOM:
            raise Refusal("ticket-room", "want the ticket that joining this line gave", headers=self._link)
        if found is Flaw.EPOCH:
            raise Refusal("ticket-epoch", "that line is over", headers=self._link)
        if isinstance(found, Flaw):
            raise Refusal("ticket-invalid", "want the ticket that joining this line gave", headers=self._link)
        if self.is_revoked(found):
            raise Refusal("ticket-revoked", "the operator has taken this ticket back", headers=self._link)
        return found

    def kept(self, request: web.BaseRequest, ticket: Ticket | Provisional) -> Sequence[tuple[str, str]]:
        """The cookie anew, where a browser's provisional ticket has got its place: its script cannot write it."""
        if isinstance(ticket, Provisional) or not self.cookie_text(request, self.cookie):
            return ()
        return (cookie(self.cookie, self.ticket_text(ticket), TICKET_S),)

    def is_revoked(self, ticket: Ticket | Provisional) -> bool:
        """Whether an operator has taken it back."""
        return isinstance(ticket, Ticket) and ticket.place in self.room.revoked

    @staticmethod
    def cookie_text(request: web.BaseRequest, wanted: str) -> str:
        """What the page left in this browser under that name; empty where there is nothing."""
        for pair in request.headers.get("Cookie", "").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == wanted:
                return value
        return ""

    def holder(self, request: web.BaseRequest, now_us: int) -> Pass:
        """Whose pass a sign-up comes with.

        Raises:
            Refusal: pass-required, pass-invalid or pass-expired, with a Link to the room.
        """
        text = request.headers.get(PASS_HEADER)
        if not text:
            raise Refusal("pass-required", f"want {PASS_HEADER}, from {self.path}/passes", headers=self._link)
        found = self.room.office.read_pass(text, now_us)
        if found is Flaw.EXPIRED:
            raise Refusal("pass-expired", "a pass is good for ten minutes", headers=self._link)
        if isinstance(found, Flaw):
            raise Refusal("pass-invalid", "not a pass of this room and line", headers=self._link)
        if found.holder in self.room.revoked:
            raise Refusal("pass-invalid", "the operator has taken this place back", headers=self._link)
        return found

    def key(self, holder: Pass) -> str:
        """Of this person's records in Kafka."""
        settings = self.room.settings
        return f"{settings.name}:{settings.epoch}:{holder.name}"

    async def claim(self, holder: Pass, signup_id: str) -> None:
        """A pass is for one applicant: the first.  Raises Refusal: it is another's."""
        owner = await self.room.owner(holder, signup_id)
        if owner is not None and owner != signup_id:
            raise _invalid("/signup_id", "this pass was used for another application")

    def _join_hash(self, body: bytes) -> bytes:
        try:
            join_id = _join(body).join_id
        except msgspec.ValidationError as exc:
            what, _, where = str(exc).partition(" - at `$.")
            raise _invalid(f"/{where.rstrip('`')}" if where else "/join_id", what) from None
        except (msgspec.DecodeError, RecursionError):
            raise Refusal("invalid-json", "want an object with a join_id") from None
        if join_id.version != _UUID4:
            raise _invalid("/join_id", "want a random UUID, version 4: it is kept like a password")
        return self.room.office.join_hash(join_id)

    def _not_when_draining(self, request: web.BaseRequest) -> None:
        connection: Connection = request.protocol  # type: ignore[assignment]
        if self._admission.is_draining and connection.is_kept:
            raise Refusal("draining", "this server is about to stop; the next connection reaches another", retry_after_s=1)


def cookie(name: str, value: str, age_s: int) -> tuple[str, str]:
    """A header that leaves this in the browser, for us alone."""
    return "Set-Cookie", f"{name}={value}; Path=/; Max-Age={age_s}; Secure; HttpOnly; SameSite=Lax"


def _rounded(answer: Told) -> tuple[int, int, int, float]:
    """(ahead, p50_s, p90_s, poll_after_s): whole seconds but for the next question, which may be less than two away."""
    return answer.ahead, round(answer.p50_s), round(answer.p90_s), round(answer.poll_after_s, 1)


def _members(answer: Told, state: str = "") -> dict[str, object]:
    ahead, p50_s, p90_s, poll_after_s = _rounded(answer)
    return {"state": state or answer.state, "ahead": ahead, "p50_s": p50_s, "p90_s": p90_s, "poll_after_s": poll_after_s}


def _invalid(pointer: str, detail: str) -> Refusal:
    return Refusal("invalid", "1 field to mend", members={"errors": [{"pointer": pointer, "detail": detail}]})


def _exact(at_us: int) -> str:
    """RFC 3339, to the millisecond: rehearsals judge the door by it."""
    return datetime.fromtimestamp(at_us // 1_000 / 1_000, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _instant(at_us: int) -> str:
    """RFC 3339, to the second."""
    return datetime.fromtimestamp(at_us // 1_000_000, tz=UTC).isoformat().replace("+00:00", "Z")
