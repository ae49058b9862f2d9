"""The other machines on the screen."""

from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from devstack import Devstack
from gateway.board import MACHINES_MAX, Board
from gateway.core.light import INDEX
from gateway.ops.fleet import KEPT_S, NAME_MAX, SUMMARY_BYTES_MAX, Fleet, RedisTown, heard, machine_name, said, spools_of, summary
from gateway.watermarks import SPOOLS_MAX
from ratelimit.redis_pool import Pool
from ratelimit.store import StoreAway
from tests.ops.test_status import Screening
from tests.screens import WELL, FakeTown


def test_a_frame_is_summed_up_in_a_line() -> None:
    seen = Screening(workers=2)
    seen.requests("syncs", "202", 50)
    seen.frame()
    seen.requests("syncs", "202", 50)
    said = summary(seen.frame(probed=WELL._replace(kafka="kafka-away")), "there:1")
    assert (said.name, said.ready, said.able, said.workers, said.accepted_per_s) == ("there:1", True, 2, 2, 50.0)
    assert said.lights == {"kafka": "red"}
    assert len(msgspec.json.encode(said)) < 300


def test_what_waits_on_a_machines_disk_is_said_where_something_waits() -> None:
    seen = Screening(workers=2)
    for slot, records in zip(seen.board.slots, (0, 400), strict=False):
        slot.gauge("sluicegate_spool_max_bytes").set(1e6)
        slot.gauge("sluicegate_spool_records").set(records)
        slot.gauge("sluicegate_spool_reason").set(INDEX["spool-used" if records else "spool-ok"])
    said = summary(seen.frame(), "a:1")
    assert (said.spool_records, said.lights) == (400, {"spool": "amber"})
    [told] = heard([(5, msgspec.json.encode(said))])
    assert told.spool_records == 400


def test_a_machine_of_before_says_nothing_of_a_spool_and_is_heard() -> None:
    said = msgspec.json.encode(summary(Screening().frame(), "a:1"))
    assert b"spool" not in said
    [told] = heard([(5, said)])
    assert told.spool_records == 0


async def test_machines_hear_of_each_other_and_not_of_themselves() -> None:
    town, frame = FakeTown(), Screening().frame()
    one, two = Fleet(town, "a:1", Board.create(1)), Fleet(town, "b:1", Board.create(1))
    await one.say(frame)
    await two.say(frame)
    await one.say(frame)
    assert [machine.name for machine in one.others] == ["b:1"]
    assert [machine.name for machine in two.others] == ["a:1"]
    town.is_away = True
    await one.say(frame)
    assert one.others == []


async def test_each_machine_knows_how_far_the_others_spools_have_come() -> None:
    """Of as many machines as are heard of, each with as many spools; and of nobody while nobody can be heard."""
    town, frame = FakeTown(), Screening().frame()
    boards = [Board.create(2), Board.create(2)]
    machines = [Fleet(town, f"{name}:1", board) for name, board in zip("ab", boards, strict=True)]
    boards[0].slots[0].watermarks.put({1: 10})
    boards[0].slots[1].watermarks.put({2: 20, 3: 2**63 - 1})
    boards[1].slots[1].watermarks.put({2**64 - 1: 5})
    for one in (*machines, machines[0]):
        await one.say(frame)
    assert [board.abroad.pairs() for board in boards] == [{2**64 - 1: 5}, {1: 10, 2: 20, 3: 2**63 - 1}]
    boards[0].slots[0].watermarks.put({1: 11})
    for one in machines:
        await one.say(frame)
    assert boards[1].abroad.of(1) == 11
    town.is_away = True
    await machines[1].say(frame)
    assert boards[1].abroad.pairs() == {}


async def test_a_fleet_at_its_bounds_is_heard_whole() -> None:
    town, frame = FakeTown(), Screening().frame()
    board = Board.create(1)
    for machine in range(MACHINES_MAX):
        board.slots[0].watermarks.put({2**63 + machine * SPOOLS_MAX + spool: 2**63 - 1 for spool in range(SPOOLS_MAX)})
        await Fleet(town, f"m{machine}:" + "n" * 50, board).say(frame)
    assert max(len(text) for _, text in town.said.values()) <= SUMMARY_BYTES_MAX
    here = Fleet(town, "here:1", Board.create(1))
    await here.say(frame)
    assert len(here.others) == MACHINES_MAX
    assert len(here._board.abroad.pairs()) == MACHINES_MAX * SPOOLS_MAX


@pytest.mark.parametrize(
    "spools",
    [b'{"x":1}', b'{"000000000000000G":1}', b'{"0000000000000001":-1}', b'{"0000000000000001":9223372036854775808}', b'{"0000000000000001":"1"}', b"[]"],
)
def test_spools_that_cannot_be_read_are_passed_over_and_their_machine_is_not(spools: bytes) -> None:
    good = said(summary(Screening().frame(), "a:1"), {5: 6})
    odd = msgspec.json.encode(summary(Screening().frame(), "b:1"))[:-1] + b',"spools":' + spools + b"}"
    old = msgspec.json.encode(summary(Screening().frame(), "c:1"))
    told = [(1, odd), (1, old), (1, good), (1, b"{")]
    assert spools_of(told) == {5: 6}
    assert [machine.name for machine in heard(told)] == ["b:1", "c:1", "a:1"]


def test_the_spools_of_a_summary_that_is_too_long_are_not_read() -> None:
    """Whoever can write to that Redis could keep every supervisor reading."""
    machine = summary(Screening().frame(), "a:1")
    told = [(1, said(machine, {1: 2}).ljust(SUMMARY_BYTES_MAX)), (1, said(machine, {3: 4}).ljust(SUMMARY_BYTES_MAX + 1))]
    assert spools_of(told) == {1: 2}
    assert len(heard(told)) == 1


def test_what_cannot_be_read_is_passed_over() -> None:
    """A machine of another version, or somebody else's key."""
    good = msgspec.json.encode(summary(Screening().frame(), "a:1"))
    named = [msgspec.structs.replace(summary(Screening().frame(), name), lights=lights) for name, lights in (("n" * 65, {}), ("b:1", {"x": "red"}))]
    odd = [b"{", b"\xff", b"{}", good + b" " * 5_000, b'{"x":' + b"[" * 1_000, *map(msgspec.json.encode, named)]
    told = [(5, good), *((1, text) for text in odd)]
    assert [(machine.name, machine.age_ms) for machine in heard(told)] == [("a:1", 5)]


async def test_those_in_trouble_come_first_and_a_frame_names_a_few() -> None:
    town, board = FakeTown(), Board.create(1)
    for number in range(12):
        probed = WELL._replace(kafka="kafka-away") if number == 7 else WELL
        await Fleet(town, f"m{number:02}:1", board).say(Screening().frame(probed=probed))
    here = Fleet(town, "here:1", board)
    await here.say(Screening().frame())
    assert [machine.name for machine in here.others][:3] == ["m07:1", "m00:1", "m01:1"]
    frame = Screening().frame(machines=here.others)
    assert (len(frame.machines), frame.machines_heard) == (8, 12)


def test_two_on_one_host_have_two_names() -> None:
    assert machine_name(8081) != machine_name(8082)
    assert len(machine_name(65_535)) <= NAME_MAX


# In a real Redis


@pytest_asyncio.fixture(loop_scope="session")
async def town(stack: Devstack, request: pytest.FixtureRequest) -> AsyncIterator[RedisTown]:
    made = RedisTown(stack.redis.url, f"{request.node.name}:")
    yield made
    await made.close()


async def test_the_real_one_tells_ages(town: RedisTown) -> None:
    assert await town.say("a:1", b"one") == []
    ((age_ms, text),) = await town.say("b:1", b"two")
    assert (text, 0 <= age_ms < KEPT_S * 1_000) == (b"one", True)
    assert [text for _, text in await town.say("a:1", b"one again")] == [b"two"]
    assert [text for _, text in await town.say("b:1", b"two")] == [b"one again"]


async def test_who_says_nothing_is_forgotten(town: RedisTown, stack: Devstack) -> None:
    pool = Pool(stack.redis.url, connect_timeout_s=5, give_up_s=5)
    await town.say("b:1", b"two")
    key = town._key
    time = await pool.talk(lambda line: line.ask(("TIME",)))
    now_ms = int(time[0]) * 1_000
    late, ahead = f"{now_ms - int(KEPT_S * 1_000) - 1_000} late", f"{now_ms + 3_600_000} the clock stepped back"
    await pool.talk(lambda line: line.ask(("HSET", key, "old:1", "1769519405000 long ago", "odd:1", "no time", "late:1", late, "ahead:1", ahead)))
    assert [text for _, text in await town.say("a:1", b"one")] == [b"two"]
    assert sorted(await pool.talk(lambda line: line.ask(("HKEYS", key)))) == [b"a:1", b"b:1"]
    assert 0 < await pool.talk(lambda line: line.ask(("PTTL", key))) <= KEPT_S * 1_000
    pool.close()


async def test_a_town_has_so_many_places(town: RedisTown) -> None:
    for number in range(MACHINES_MAX + 5):
        others = await town.say(f"m{number}:1", b"x")
    assert len(others) == MACHINES_MAX


async def test_nobody_is_there_where_there_is_no_redis() -> None:
    town = RedisTown("redis://127.0.0.1:1/0", "t:")
    with pytest.raises(StoreAway):
        await town.say("a:1", b"one")
    await town.close()
