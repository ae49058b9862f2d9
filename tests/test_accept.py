"""One request's path, in virtual time: what is charged, what is given back, and what the store is said to have done.

All parts are the real ones but for the broker and Redis, which are in memory; what a socket carries is
examined in tests/system.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, cast

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from gateway import config
from gateway.accept import Front
from gateway.admit import Admission
from gateway.core.address import Proxies, peer_of
from gateway.core.event import Forge
from gateway.core.overload import End, Policy
from gateway.deliver import Deliverer
from gateway.documents import Documents
from gateway.errors import Refusal
from gateway.identity import Identity, mint
from gateway.kafka import Topic, key_hash
from gateway.keys import TokenKey
from gateway.limits import Limits
from gateway.reply import Answer, Replies
from gateway.whereabouts import Whereabouts
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from tests.fakes import FakeBroker, VirtualLoop, count, in_virtual_time, new_slot
from tests.system.gateway import sample, signup, sync

TOPICS: Final = [Topic(name, 1, copies=3, in_sync_min=2, batch_bytes_max=1_000_000) for name in ("syncs.v1", "signups.v1")]
OURS, THEIRS = (TokenKey("k", "HS256", letter * 43) for letter in "AB")
SIGNUP_ID: Final = "0190a6f0-0000-7000-8000-000000000001"
OLD_DAY: Final = "2026-01-05"


def policy(charge: Any, **burst_by: int) -> config.LimitPolicy:
    """Buckets that hardly refill while a test runs."""
    return config.LimitPolicy(charge, charge, tuple(config.LimitRule(by, 1, 3600, burst) for by, burst in burst_by.items()))  # type: ignore[arg-type]


class Told(NamedTuple):
    """What a client reads."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))


class Doorkeeper(Admission):
    """The real one, which also keeps how requests ended, and since when they count."""

    ends: list[End]
    began_s: float

    def done(self, cost_bytes: int, end: End, began_s: float) -> None:
        self.ends.append(end)
        self.began_s = began_s
        super().done(cost_bytes, end, began_s)


class World:
    """One worker's front without sockets."""

    def __init__(self, *policies: config.LimitPolicy, **deliver: Any) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop, clock = loop, loop.clock
        self.slot = new_slot()
        self.broker = FakeBroker(*TOPICS)
        self.deliverer = Deliverer(config.Deliver(**deliver), self.broker, clock, self.slot)
        self.admission = Doorkeeper(10**8, self.deliverer, clock, self.slot)
        self.admission.ends = []
        self.store = MemoryStore(clock.now_us)
        limiter = Limiter(self.store, worker="w", monotonic_s=loop.time)
        self.front = Front(
            config.Http(),
            admission=self.admission,
            identity=Identity(config.Identity(), (OURS,), key_hash, self.slot),
            limits=Limits(config.Limits(policies=policies), b"s" * 32, limiter, self.slot),
            proxies=Proxies(()),
            deliverer=self.deliverer,
            forge=Forge("w"),
            documents=Documents("", 60),
            replies=Replies("w"),
            whereabouts=Whereabouts(b"s" * 32, (), {"syncs": "syncs.v1", "signups": "signups.v1"}),
            clock=clock,
            slot=self.slot,
        )

    def request(self, kind: str, body: bytes | StreamReader, key: TokenKey = OURS) -> web.BaseRequest:
        """A request of user u1 from 192.0.2.1; bytes are all here, of a stream what was fed."""
        if isinstance(body, bytes):
            stream = self.stream()
            stream.feed_data(body)
            stream.feed_eof()
            length = len(body)
        else:
            stream, length = body, 10_000
        token = mint((key,), config.Identity(), "u1", self.loop.clock.now_us() / 1e6, 3600)
        headers = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(length)}
        if kind == "syncs":
            headers["Authorization"] = f"Bearer {token}"
        request = make_mocked_request("POST", f"/v1/{kind}", headers, payload=stream, loop=self.loop)
        connection = cast("Any", request.protocol)
        connection.peer, connection.is_kept = peer_of("192.0.2.1"), False
        return request

    def stream(self) -> StreamReader:
        protocol = BaseProtocol(self.loop)
        protocol.transport = asyncio.Transport()  # a connection that is there, and nothing comes from it
        return StreamReader(protocol, 2**16, loop=self.loop)

    async def answer(self, request: web.BaseRequest) -> Told:
        answer = await self.front.handle(request)
        assert isinstance(answer, Answer)
        lines = answer.head.decode().split("\r\n")[1:-1]
        return Told(answer.status, dict(line.split(": ", 1) for line in lines), json.loads(answer.body))

    async def receipt(self, receipt: str, method: str = "GET") -> Told:
        """What is answered to a receipt."""
        return await self.answer(make_mocked_request(method, f"/v1/receipts/{receipt}", {"Host": "x"}, loop=self.loop))

    async def post(self, kind: str, *samples: Mapping[str, object], key: TokenKey = OURS) -> Told:
        """A sync of these samples, or a sign-up."""
        content = sync(*samples) if kind == "syncs" else signup(SIGNUP_ID)
        return await self.answer(self.request(kind, json.dumps(content).encode(), key))

    def limited(self, charge: str, result: str) -> int:
        return count(self.slot, "sluicegate_limits_total", charge, result)

    def stored(self, kind: str = "syncs") -> int:
        return len(self.broker.log(f"{kind}.v1"))

    @property
    def in_flight(self) -> int:
        self.admission.show()
        return int(self.slot.gauge("sluicegate_overload_in_flight").value)

    async def fill(self, share: float) -> None:
        """So much of what may be in flight is, for as long as it takes to be believed."""
        for n in range(int(Policy().limit_start * share)):
            self.admission.admit("syncs", 0, str(n))
        for _ in range(3):
            await asyncio.sleep(0.15)
            self.admission.lagged(0.0)


@asynccontextmanager
async def serving(*policies: config.LimitPolicy, **deliver: Any) -> AsyncIterator[World]:
    w = World(*policies, **deliver)
    await w.deliverer.start(is_strict=True)
    yield w
    assert (w.deliverer.failed(), w.admission.bodies_bytes >= 0) == (None, True)
    await w.deliverer.stop()


# Receipts


@pytest.mark.parametrize("kind", ["syncs", "signups"])
@in_virtual_time
async def test_a_receipt_says_where_all_that_was_accepted_is(kind: str) -> None:
    """Of a sync what was valid, and a repeated sample once."""
    async with serving() as w:
        await w.post(kind, sample(seq=1))
        told = await w.post(kind, sample(seq=2), sample(seq=3, steps=-1), sample(seq=4), sample(seq=4))
        first, last = (1, 2) if kind == "syncs" else (1, 1)
        found = await w.receipt(told.body["receipt"])
        assert (found.status, found.headers["Cache-Control"]) == (200, "no-store")
        assert found.body == {"state": "kafka", "topic": f"{kind}.v1", "partition": 0, "first_offset": first, "last_offset": last}
        assert count(w.slot, "sluicegate_requests_total", "receipts", "200") == 1


@in_virtual_time
async def test_a_receipt_that_is_none_is_refused_whatever_else_is_going_on() -> None:
    """It costs a hash: overload and limits are for what costs more."""
    async with serving(policy("syncs", address=1)) as w:
        told = await w.post("syncs", sample())
        await w.fill(1.0)
        w.broker.pause()
        assert (await w.post("syncs", sample())).status == 503
        genuine: str = told.body["receipt"]
        for forged in ("", "x", genuine[:-1], genuine[:-1] + ("A" if genuine[-1] != "A" else "B"), genuine + "/", genuine.lower()):
            assert [(await w.receipt(forged, method)).code for method in ("GET", "HEAD")] == ["receipt-invalid"] * 2
        assert (await w.receipt(genuine)).status == 200
        assert (await w.receipt(genuine + "?a=b")).status == 200
        refused = await w.receipt(genuine, "POST")
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")
        assert (await w.receipt("../syncs")).code == "receipt-invalid"
        assert count(w.slot, "sluicegate_requests_total", "receipts", "404") == 13


# How a request ends


class Row(NamedTuple):
    """A broker's morning, and what it makes of a request."""

    kind: str
    morning: str
    status: int
    code: str
    end: End
    outcome: str | None  # what a 503 says became of it; then all is given back


MORNINGS: Final[list[tuple[str, int, str, End, str | None]]] = [
    ("good", 202, "", End.ANSWERED, None),
    ("frozen", 503, "not-durable", End.LOST, "unknown"),
    ("refuses it for good", 422, "invalid", End.IGNORED, None),
    ("breaks after storing it", 202, "", End.ANSWERED, None),
    ("dies", 503, "not-durable", End.LOST, "unknown"),
    ("is elsewhere", 503, "not-durable", End.LOST, "none"),
]
ROWS: Final = [Row(kind, *morning) for kind in ("syncs", "signups") for morning in MORNINGS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}, {row.morning}")
@in_virtual_time
async def test_what_the_store_did_is_told_and_learnt_from_and_paid_for(row: Row) -> None:
    async with serving(policy("syncs", user=1), policy("signups", address=1)) as w:
        match row.morning:
            case "frozen":
                w.broker.pause()
            case "refuses it for good":
                w.broker.refuse = lambda _: True
            case "breaks after storing it":
                w.broker.lose_acks = 1
            case "dies":
                w.broker.kill()
            case "is elsewhere":  # known since a moment; this request was let in just before
                w.broker.kill()
                w.deliverer._rebuild("a test")
                w.deliverer._lanes.is_open[row.kind] = True
        told = await w.post(row.kind)
        assert (told.status, told.code, w.admission.ends) == (row.status, row.code, [row.end])
        assert told.body.get("outcome") == row.outcome
        assert (w.limited(row.kind, "admitted"), w.limited(row.kind, "refunded")) == (1, int(row.status == 503))
        assert ("Retry-After" in told.headers) == (row.status == 503)
        assert (w.in_flight, w.admission.bodies_bytes) == (0, 0)
        w.broker.revive()
        w.broker.resume()
        w.broker.refuse = lambda _: False
        await asyncio.sleep(3)
        # Who got nothing has paid nothing; anybody else has spent their one request.
        assert (await w.post(row.kind)).status == (202 if row.status == 503 else 429)


@pytest.mark.parametrize("kind", ["syncs", "signups"])
@in_virtual_time
async def test_what_is_wrong_with_a_body_says_nothing_of_the_store_and_is_not_given_back(kind: str) -> None:
    async with serving(policy("syncs", user=1), policy("signups", address=1)) as w:
        told = await w.answer(w.request(kind, b"{"))
        assert (told.code, w.admission.ends, w.limited(kind, "refunded")) == ("invalid-json", [End.IGNORED], 0)
        assert (await w.post(kind)).code == "rate-limited"
        assert (w.admission.ends, w.in_flight, w.stored(kind)) == ([End.IGNORED] * 2, 0, 0)


@in_virtual_time
async def test_a_stranger_is_not_charged_to_whom_the_token_names() -> None:
    async with serving(policy("syncs", user=1, address=1), policy("samples", user=1)) as w:
        for _ in range(3):
            told = await w.post("syncs", key=THEIRS)
            assert (told.status, told.code) == (401, "token-invalid")
        assert (len(w.store), w.in_flight, w.admission.ends) == (0, 0, [End.IGNORED] * 3)
        assert (await w.post("syncs")).status == 202


# A body that comes slowly


@pytest.mark.parametrize("kind", ["syncs", "signups"])
@in_virtual_time
async def test_who_sends_slowly_takes_no_turn_until_all_is_here(kind: str) -> None:
    async with serving() as w:
        stream = w.stream()
        answer = asyncio.ensure_future(w.answer(w.request(kind, stream)))
        await asyncio.sleep(0.5)
        assert (w.in_flight, w.admission.bodies_bytes > 10_000) == (0, True)
        w.broker.latency_s = 0.1
        began_s = w.loop.time()
        stream.feed_data(json.dumps(sync() if kind == "syncs" else signup(SIGNUP_ID)).encode())
        stream.feed_eof()
        await asyncio.sleep(0.05)
        assert w.in_flight == 1
        assert (await answer).status == 202
        assert (w.in_flight, w.admission.bodies_bytes) == (0, 0)
        assert w.admission.began_s == began_s  # the phone's half second is not the store's


@pytest.mark.parametrize("kind", ["syncs", "signups"])
@in_virtual_time
async def test_a_body_that_never_comes_gives_all_back_but_the_charge(kind: str) -> None:
    async with serving(policy("syncs", user=1), policy("signups", address=1)) as w:
        told = await w.answer(w.request(kind, w.stream()))
        assert (told.status, told.code) == (408, "request-timeout")
        assert (w.in_flight, w.admission.bodies_bytes, w.admission.ends, w.limited(kind, "refunded")) == (0, 0, [End.IGNORED], 0)


@pytest.mark.parametrize("kind", ["syncs", "signups"])
@in_virtual_time
async def test_who_is_over_a_limit_is_told_before_the_body_is_waited_for(kind: str) -> None:
    async with serving(policy("syncs", user=1), policy("signups", address=1)) as w:
        assert (await w.post(kind)).status == 202
        began_s = w.loop.time()
        told = await w.answer(w.request(kind, w.stream()))
        assert (told.status, told.code, w.loop.time() - began_s < 0.1) == (429, "rate-limited", True)
        assert int(told.headers["Retry-After"]) > 3500


# Limits that are ours


@pytest.mark.parametrize("by", ["global", "route"])
@pytest.mark.parametrize("kind", ["syncs", "signups"])
@in_virtual_time
async def test_who_is_refused_for_all_together_comes_back_spread(kind: str, by: str) -> None:
    """The bucket alone would call everybody back in the same second."""
    rules = (config.LimitRule(by, 1, 1, 1),)  # type: ignore[arg-type]
    async with serving(config.LimitPolicy("p", kind, rules)) as w:  # type: ignore[arg-type]
        assert (await w.post(kind)).status == 202
        found = [await w.post(kind) for _ in range(40)]
        assert {(told.status, told.code) for told in found} == {(503, "overloaded")}
        waits_s = {int(told.headers["Retry-After"]) for told in found}
        assert len(waits_s) > 1  # of two seconds, by chance never all the same


@in_virtual_time
async def test_but_no_earlier_than_the_bucket_says() -> None:
    async with serving(policy("syncs", route=1)) as w:
        await w.post("syncs")
        assert {int((await w.post("syncs")).headers["Retry-After"]) for _ in range(20)} == {3600}


@in_virtual_time
async def test_who_is_refused_for_their_own_limit_is_told_what_the_bucket_says() -> None:
    async with serving(config.LimitPolicy("p", "syncs", (config.LimitRule("user", 1, 1, 1),))) as w:
        assert (await w.post("syncs")).status == 202
        found = [await w.post("syncs") for _ in range(40)]
        assert {(told.status, told.headers["Retry-After"]) for told in found} == {(429, "1")}


# Samples of a sync


@in_virtual_time
async def test_samples_beyond_the_grant_are_not_sent_and_may_come_again() -> None:
    async with serving(policy("samples", user=2)) as w:
        told = await w.post("syncs", *(sample(seq) for seq in (5, 1, 4, 2, 3)))
        assert (told.status, told.body["accepted"], told.body["ack_through"]) == (202, 3, 3)
        assert {(entry["seq"], entry["status"], entry["code"]) for entry in told.body["results"]} == {(seq, "retry", "rate-limited") for seq in (4, 5)}
        assert (w.stored(), count(w.slot, "sluicegate_events_total", "syncs", "limited")) == (3, 2)
        assert int(told.headers["Retry-After"]) >= 3600


@in_virtual_time
async def test_samples_the_store_did_not_take_cost_nothing() -> None:
    async with serving(policy("syncs", user=1), policy("samples", user=2)) as w:
        w.broker.pause()
        told = await w.post("syncs", sample(1), sample(2), sample(3))
        assert (told.status, told.body["outcome"], len(told.body["results"])) == (503, "unknown", 3)
        assert (w.limited("syncs", "refunded"), w.limited("samples", "refunded")) == (1, 2)
        w.broker.resume()
        await asyncio.sleep(3)
        told = await w.post("syncs", sample(1), sample(2), sample(3))
        assert (told.status, told.body["accepted"], told.body["results"]) == (202, 3, [])


@in_virtual_time
async def test_of_a_sync_that_was_half_stored_only_samples_are_given_back() -> None:
    """One batch is acknowledged before the store freezes, and the next is not."""
    async with serving(policy("syncs", user=1), policy("samples", user=9), batch_bytes_max=1_024, linger_ms=1.0) as w:
        w.broker.latency_s = 0.05
        w.loop.call_later(0.07, w.broker.pause)
        told = await w.post("syncs", *(sample(seq) for seq in range(1, 7)))
        accepted = told.body["accepted"]
        assert (told.status, 1 <= accepted < 6) == (202, True)
        assert {entry["code"] for entry in told.body["results"]} == {"not-durable"}
        assert (w.limited("syncs", "refunded"), w.limited("samples", "refunded")) == (0, min(6 - accepted, 5))
        assert w.admission.ends == [End.ANSWERED]


# Under pressure


@in_virtual_time
async def test_days_gone_by_wait_under_pressure() -> None:
    async with serving(policy("samples", user=2)) as w:
        await w.fill(0.7)
        told = await w.post("syncs", sample(1), sample(2, day=OLD_DAY), sample(3))
        assert (told.status, told.body["accepted"], told.body["ack_through"], w.stored()) == (202, 2, 1, 2)
        assert [(entry["seq"], entry["status"], entry["code"]) for entry in told.body["results"]] == [(2, "retry", "overloaded")]
        assert "Retry-After" in told.headers
        assert (w.limited("samples", "admitted"), count(w.slot, "sluicegate_events_total", "syncs", "shed")) == (2, 1)  # what waits is not paid for


@in_virtual_time
async def test_a_sync_all_of_whose_samples_wait_is_refused_as_overload() -> None:
    """Not as a store that failed: nothing was sent to it."""
    async with serving(policy("samples", user=9), policy("syncs", user=1)) as w:
        await w.fill(0.7)
        told = await w.post("syncs", sample(1, day=OLD_DAY), sample(2, day=OLD_DAY))
        assert w.limited("syncs", "refunded") == 1  # nothing was kept, and not by their fault
        assert (told.status, told.code, told.body["outcome"]) == (503, "overloaded", "none")
        assert {entry["code"] for entry in told.body["results"]} == {"overloaded"}
        assert (w.stored(), w.admission.ends, w.limited("samples", "admitted")) == (0, [End.IGNORED], 0)
        assert 1 <= int(told.headers["Retry-After"]) <= 30


@in_virtual_time
async def test_without_pressure_no_day_is_too_old() -> None:
    async with serving() as w:
        told = await w.post("syncs", sample(1, day=OLD_DAY))
        assert (told.status, told.body["accepted"], w.stored()) == (202, 1, 1)


@in_virtual_time
async def test_while_more_comes_than_can_be_taken_who_is_refused_pays_nothing() -> None:
    async with serving(policy("syncs", user=1)) as w:
        await w.fill(1.0)
        for n in range(200):
            with pytest.raises(Refusal):
                w.admission.admit("syncs", 0, f"more {n}")
        told = await w.post("syncs")
        assert (told.status, told.code, len(w.store), w.admission.ends) == (503, "overloaded", 0, [])


# Who is turned away before it is parsed

PLAIN: Final = b"POST /v1/syncs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer t\r\nContent-Length: 2\r\n\r\n{}"


async def pressed(w: World) -> None:
    """More has come than can be taken, for long enough that the bar is down."""
    await w.fill(1.0)
    for _ in range(2):
        for n in range(200):
            with contextlib.suppress(Refusal):
                w.admission.admit("syncs", 0, f"more {n}")
        await asyncio.sleep(0.15)
        w.admission.lagged(0.0)
    assert [w.admission.is_open] == [False]


def refused(w: World) -> tuple[int, int, int]:
    """What the board says of refused syncs."""
    return (
        count(w.slot, "sluicegate_requests_total", "syncs", "503"),
        count(w.slot, "sluicegate_refusals_total", "overloaded"),
        count(w.slot, "sluicegate_overload_refused_total", "syncs"),
    )


@in_virtual_time
async def test_at_once_or_through_a_handler_the_answer_is_the_same() -> None:
    async with serving() as w:
        await pressed(w)
        before = refused(w)
        at_once = w.front.turned_away(PLAIN)
        assert at_once is not None
        head, _, body = at_once.decode().partition("\r\n\r\n")
        lines = head.split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        told = await w.post("syncs", sample(1))
        assert (lines[0], json.loads(body)) == (f"HTTP/1.1 {told.status} Service Unavailable", told.body)
        other = dict(told.headers)
        for known in (headers, other):
            assert int(known.pop("Retry-After")) in range(1, 31)
            assert known.pop("Request-Id")
        assert headers == other
        assert [after - was for after, was in zip(refused(w), before, strict=True)] == [2, 2, 2]


ODD: Final[dict[str, bytes]] = {
    "another path": PLAIN.replace(b"syncs", b"signups"),
    "a host that is none": PLAIN.replace(b"Host: x", b"Host: a b"),
    "too long": PLAIN.replace(b"2\r\n\r\n{}", b"999999\r\n\r\n" + b"x" * 999_999),
}


@pytest.mark.parametrize("odd", ODD)
@in_virtual_time
async def test_whoever_has_something_else_to_hear_goes_to_the_handler(odd: str) -> None:
    async with serving() as w:
        await pressed(w)
        assert w.front.turned_away(PLAIN) is not None
        before = refused(w)
        assert w.front.turned_away(ODD[odd]) is None
        assert refused(w) == before


@in_virtual_time
async def test_nobody_is_turned_away_while_there_is_room_or_the_connection_ends_anyway() -> None:
    async with serving() as w:
        assert w.front.turned_away(PLAIN) is None
        await pressed(w)
        w.front.closes_connections = True
        assert w.front.turned_away(PLAIN) is None
