"""One worker's side of the line, and several before one store: in virtual time, with the law itself as the store.

Examined: what is asked of the store and what is not; holds, repeats and who hangs up; ticks; the store away, back,
back older and back empty.  The law is tests/core/test_waiting.py's, what is told of a place tests/core/test_place.py's.
"""

import asyncio
import random
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from msgspec import structs

from gateway.core.pace import Pace, Reason
from gateway.core.sign import PASS_S, Acts
from gateway.core.ticket import Flaw, Pass, Provisional, Ticket
from gateway.core.turn import PERSON
from gateway.core.waiting import Room
from gateway.errors import ConfigError
from gateway.keys import Keys, SecretKey
from gateway.room import MARGIN, Came, NoEntry, Through, Wait, files_in, office, policy_of
from gateway.room_store import CALL_MAX, SEEN_MAX
from tests.fakes import count, in_virtual_time
from tests.lines import OFFICE, SETTINGS, Desk, Line, ticking

TOKEN_S: Final = 0.1
S: Final = 1_000_000


def join_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


async def came(desk: Desk, number: int) -> Ticket:
    """A place of the line, without going through at once."""
    entry = await desk.room.join(join_id(number))
    assert isinstance(entry, Came)
    assert isinstance(entry.ticket, Ticket)
    return entry.ticket


async def crowd(desk: Desk, people: int, first: int = 0) -> list[Ticket]:
    """So many join during a pause, so that all of them wait; then the door opens."""
    line: Any = desk.room._store
    assert line.room is not None
    line.room.pause(line.now_us)
    tickets = await asyncio.gather(*(came(desk, number) for number in range(first, first + people)))
    line.room.resume(line.now_us)
    await asyncio.sleep(0.6)  # the next sign, and who is called
    return list(tickets)


async def passes(desk: Desk, *tickets: Ticket | Provisional) -> list[str]:
    answers = await asyncio.gather(*(desk.room.knock(ticket) for ticket in tickets))
    return [answer.pass_text for answer in answers if isinstance(answer, Through)]


# What the store is asked


@in_virtual_time
async def test_joins_of_one_tick_share_calls_in_the_order_of_joining(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        line.calls.clear()
        entries = await asyncio.gather(*(desk.room.join(join_id(number)) for number in range(300)))
        assert [len(ids) for ids in line.asked("join")] == [CALL_MAX, CALL_MAX, 300 - 2 * CALL_MAX]
        assert [entry.ticket.place for entry in entries if isinstance(entry, Came) and isinstance(entry.ticket, Ticket)] == list(range(300))
        again = await desk.room.join(join_id(77))
        assert isinstance(again, Came)
        assert isinstance(again.ticket, Ticket)
        assert (again.ticket.place, again.is_new, desk.joins("new"), desk.joins("known")) == (77, False, 300, 1)


@in_virtual_time
async def test_who_joined_earlier_comes_first_however_they_are_asked(tmp_path: Path) -> None:
    """Provisional tickets are older than who joins now."""
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        now_us = line.now_us
        old = [Provisional(join_id(number), now_us - number * S) for number in (1, 3, 2)]
        found = await asyncio.gather(desk.room.join(join_id(9)), *(desk.room.placed(ticket) for ticket in old))
        assert line.asked("join") == [[join_id(number) for number in (3, 2, 1, 9)]]
        assert found[1:] == [Ticket(2, now_us - S), Ticket(0, now_us - 3 * S), Ticket(1, now_us - 2 * S)]


@in_virtual_time
async def test_a_place_is_told_without_asking_anybody(tmp_path: Path) -> None:
    """A thousand looks, and the store hears of them with the next tick, once each."""
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        await asyncio.sleep(5)
        line.calls.clear()
        for _ in range(10):
            for ticket in tickets:
                desk.room.look(ticket)
        assert line.calls == []
        await asyncio.sleep(0.3)
        [(name, notes)] = line.calls
        assert (name, sorted([*notes.near, *notes.far])) == ("tick", list(range(100)))
        assert count(desk.slot, "sluicegate_room_looks_total") == 1_000


@in_virtual_time
async def test_who_is_not_called_is_refused_from_memory_and_counts_as_there(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        await asyncio.sleep(5)
        line.calls.clear()
        answer = await desk.room.knock(tickets[99])
        assert isinstance(answer, Wait)
        assert answer.answer is not None
        assert (answer.answer.state, answer.answer.ahead > 0, answer.retry_after_s >= 1) == ("waiting", True, True)
        assert (line.calls, desk.knocks("early")) == ([], 1)
        await asyncio.sleep(0.3)
        assert 99 in line.asked("tick")[0].near


@in_virtual_time
async def test_a_full_line_takes_nobody(tmp_path: Path) -> None:
    settings = structs.replace(SETTINGS, line_max=5)
    line = Line(settings)
    desk = Desk(line, tmp_path, settings=settings)
    async with ticking(desk):
        await crowd(desk, 5)
        line.room.pause(line.now_us)  # type: ignore[union-attr]
        await asyncio.sleep(0.3)
        full = await asyncio.gather(*(desk.room.join(join_id(number)) for number in range(100, 140)))
        assert full.count(NoEntry.FULL) == desk.joins("full") >= 10


@in_virtual_time
async def test_a_closed_room_takes_nobody_new_and_keeps_who_has_a_place(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path, workers=1)
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        held = [asyncio.create_task(desk.room.knock(ticket)) for ticket in tickets[:15]]
        await asyncio.sleep(0.3)
        await line.say(1, is_closed=True)
        ended = [answer for answer in await asyncio.gather(*held) if isinstance(answer, Wait)]
        assert len(ended) >= 8
        assert {answer.answer.state for answer in ended if answer.answer is not None} == {"closed"}
        assert (await desk.room.join(join_id(500)), desk.joins("closed")) == (NoEntry.CLOSED, 1)
        known = await desk.room.join(join_id(7))
        assert isinstance(known, Came)
        assert (known.ticket, known.is_new) == (Ticket(7, line.now_us), False)
        told = [desk.room.look(ticket) for ticket in tickets]
        assert {answer.state for answer in told} == {"closed"}
        assert all(0 < answer.poll_after_s <= 55 for answer in told)
        assert desk.room.slowed_by == "closed"
        assert await passes(desk, *tickets[15:]) == []
        await asyncio.sleep(60)
        await line.say(2)
        await asyncio.sleep(0.3)
        assert len(await passes(desk, *tickets[:15])) == 15
        assert (await came(desk, 500)).place == 100


@in_virtual_time
async def test_who_has_a_provisional_ticket_gets_the_place_after_the_room_was_closed(tmp_path: Path) -> None:
    """In the order of joining; whoever comes now has none."""
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        await line.say(1, is_closed=True)
        await asyncio.sleep(0.3)
        now_us = line.now_us
        old = [Provisional(join_id(number), now_us - number * S) for number in (1, 2)]
        found = await asyncio.gather(desk.room.join(join_id(9)), *(desk.room.placed(ticket) for ticket in old))
        assert found == [NoEntry.CLOSED, Ticket(1, now_us - S), Ticket(0, now_us - 2 * S)]


# Knocks and holds


@in_virtual_time
async def test_a_quiet_day_has_no_line(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        for number in range(20):
            entry = await desk.room.join(join_id(number))
            assert isinstance(entry, Came)
            assert isinstance(await desk.room.enter(entry), Through)
            await asyncio.sleep(TOKEN_S)
        again = await desk.room.join(join_id(3))
        assert isinstance(again, Came)
        assert again.slot is not None
        assert await desk.room.enter(again) is not None
        assert (desk.knocks("given"), desk.knocks("again"), line.asked("door")) == (20, 1, [])


@in_virtual_time
async def test_a_knock_is_held_until_its_turn(tmp_path: Path) -> None:
    """Fifteen called people knock at once: a burst, then one each 100 ms; each has a pass of its own, good for ten minutes."""
    line = Line()
    desk = Desk(line, tmp_path, workers=1)
    loop = asyncio.get_running_loop()
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        ends: list[tuple[float, Through]] = []

        async def knock(ticket: Ticket) -> None:
            answer = await desk.room.knock(ticket)
            if isinstance(answer, Through):
                ends.append((loop.time(), answer))

        began_s = loop.time()
        await asyncio.gather(*(knock(ticket) for ticket in tickets[:15]))
        assert [round(at_s - began_s, 1) for at_s, _ in ends] == [round(TOKEN_S * max(0, number - 1), 1) for number in range(15)]
        assert len({answer.pass_text for _, answer in ends}) == 15
        for at_s, answer in ends:
            holder = OFFICE.read_pass(answer.pass_text, line.now_us)
            assert isinstance(holder, Pass)
            assert holder.expires_us == answer.expires_us
            slot_us = answer.expires_us - PASS_S * S
            assert abs(slot_us - line.now_us + (loop.time() - at_s) * S) <= S
        assert [len(places) for places in line.asked("door")] == [15]
        await asyncio.sleep(0.6)
        assert line.room is not None
        assert not line.room.booked


@in_virtual_time
async def test_a_repeat_while_the_first_is_held_shares_its_fate_and_its_pass(tmp_path: Path) -> None:
    line = Line()
    one, other = Desk(line, tmp_path, 0, workers=1), Desk(line, tmp_path, 1, workers=1)
    async with ticking(one, other):
        tickets = await crowd(one, 100)
        held = [asyncio.create_task(one.room.knock(ticket)) for ticket in tickets[:14]]
        await asyncio.sleep(0.5)
        assert not held[13].done()
        here = [asyncio.create_task(one.room.knock(tickets[13])) for _ in range(3)]
        there = asyncio.create_task(other.room.knock(tickets[13]))
        found = await asyncio.gather(held[13], *here, there)
        assert {answer.pass_text for answer in found if isinstance(answer, Through)} == {found[0].pass_text}  # type: ignore[union-attr]
        assert [type(answer) for answer in found] == [Through] * 5
        assert (one.knocks("repeated"), [places for places in line.asked("door") if 13 in places]) == (3, [list(range(14)), [13]])
        await asyncio.gather(*held)
        await asyncio.sleep(0.6)
        assert await passes(other, tickets[13]) == [found[0].pass_text]  # type: ignore[union-attr]
        assert line.room is not None
        assert line.room.passes == 14


@in_virtual_time
async def test_who_hangs_up_is_let_in_all_the_same_and_gets_the_same_pass_on_coming_again(tmp_path: Path) -> None:
    line = Line()
    one, other = Desk(line, tmp_path, 0, workers=1), Desk(line, tmp_path, 1, workers=1)
    async with ticking(one, other):
        tickets = await crowd(one, 100)
        held = [asyncio.create_task(one.room.knock(ticket)) for ticket in tickets[:10]]
        await asyncio.sleep(0.2)
        held[8].cancel()
        held[9].cancel()
        repeat = asyncio.create_task(one.room.knock(tickets[7]))
        await asyncio.sleep(0.1)
        repeat.cancel()  # takes the first with it no more than the other way round
        again = await passes(one, tickets[9])  # while it is held
        await asyncio.sleep(2)
        assert isinstance(held[7].result(), Through)
        assert one.knocks("given") == 10
        assert await passes(other, tickets[9]) == again
        assert len(await passes(other, tickets[8])) == len(await passes(one, tickets[8])) == 1
        assert line.room is not None
        assert line.room.passes == 10


@in_virtual_time
async def test_a_pause_ends_the_holds_and_keeps_their_turns(tmp_path: Path) -> None:
    """Whoever was held is told where they stand, as somebody with a place."""
    line = Line()
    desk = Desk(line, tmp_path, workers=1)
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        held = [asyncio.create_task(desk.room.knock(ticket)) for ticket in tickets[:15]]
        await asyncio.sleep(0.3)
        await line.say(1, is_paused=True)
        answers = await asyncio.gather(*held)
        ended = [answer for answer in answers if isinstance(answer, Wait)]
        assert len(ended) == desk.knocks("ended") >= 8
        for answer in ended:
            assert 1 <= answer.retry_after_s <= 60
            assert answer.answer is not None
            assert answer.answer.state == "paused"
        assert isinstance(await desk.room.knock(tickets[14]), Wait)
        await asyncio.sleep(60)
        await line.say(2, is_paused=False)
        await asyncio.sleep(0.3)
        assert len(await passes(desk, *tickets[:15])) == 15
        assert line.room is not None
        assert line.room.passes == 15


@in_virtual_time
async def test_a_cut_is_told_to_those_it_moves_too_far(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path, workers=1)
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        held = [asyncio.create_task(desk.room.knock(ticket)) for ticket in tickets[:15]]
        await asyncio.sleep(0.1)
        assert await line.set_pace(Pace.opening(1.0, line.now_us)._replace(reason=Reason.TOLD), 0)
        await asyncio.sleep(0.3)
        told = [task.result() for task in held if task.done()]
        waits = [answer for answer in told if isinstance(answer, Wait)]
        assert len(waits) == desk.knocks("ended") >= 5
        assert max(wait.retry_after_s for wait in waits) > 3
        await asyncio.gather(*held)


@in_virtual_time
async def test_a_worker_that_overslept_the_turn_knocks_anew(tmp_path: Path) -> None:
    """Its answer is not given late: the turn has gone by, and to make it good would open the door wider."""
    line = Line()
    desk = Desk(line, tmp_path, workers=1)
    loop: Any = asyncio.get_running_loop()
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        held = [asyncio.create_task(desk.room.knock(ticket)) for ticket in tickets[:10]]
        await asyncio.sleep(0.12)
        began_s = loop.time()
        loop._hurry.now_s += 0.5  # nothing ran for half a second
        assert [isinstance(answer, Through) for answer in await asyncio.gather(*held)] == [True] * 10
        assert 2 <= desk.knocks("late") <= 6
        assert loop.time() - began_s > 0.6
        assert len(line.asked("door")) > 1


@in_virtual_time
async def test_no_more_are_held_than_may_be(tmp_path: Path) -> None:
    settings = structs.replace(SETTINGS, held_max=5)
    line = Line(settings)
    desk = Desk(line, tmp_path, settings=settings)
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        answers = await asyncio.gather(*(desk.room.knock(ticket) for ticket in tickets[:10]))
        assert [isinstance(answer, Through) for answer in answers] == [True] * 5 + [False] * 5
        assert [len(places) for places in line.asked("door")] == [5]


@in_virtual_time
async def test_nor_with_the_answer_to_a_join(tmp_path: Path) -> None:
    """Who is not held has the place, and may knock."""
    settings = structs.replace(SETTINGS, held_max=3)
    line = Line(settings)
    desk = Desk(line, tmp_path, settings=settings)
    async with ticking(desk):
        entries = [await desk.room.join(join_id(number)) for number in range(8)]
        found = await asyncio.gather(*(desk.room.enter(entry) for entry in entries if isinstance(entry, Came)))
        assert [answer is not None for answer in found] == [True] * 3 + [False] * 5


@in_virtual_time
async def test_a_refused_knock_is_told_from_memory_until_it_may_come(tmp_path: Path) -> None:
    """The door is booked out: the store says so once, then the worker does."""
    line = Line()
    desk = Desk(line, tmp_path, workers=1)
    async with ticking(desk):
        tickets = await crowd(desk, 200)
        assert line.room is not None
        line.room.door(range(29), line.now_us)
        answer = await desk.room.knock(tickets[29])
        assert isinstance(answer, Wait)
        assert (desk.knocks("refused"), len(line.asked("door"))) == (1, 1)
        assert isinstance(await desk.room.knock(tickets[29]), Wait)
        assert (desk.knocks("early"), len(line.asked("door"))) == (1, 1)
        await asyncio.sleep(answer.retry_after_s + 0.1)
        await desk.room.knock(tickets[29])
        assert len(line.asked("door")) == 2


@in_virtual_time
async def test_a_worker_that_ends_sends_everybody_on(tmp_path: Path) -> None:
    """And its last notes reach the store: whose answer was given, who signed up."""
    line = Line()
    desk = Desk(line, tmp_path, workers=1)
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        [text] = await passes(desk, tickets[0])
        held = [asyncio.create_task(desk.room.knock(ticket)) for ticket in tickets[1:15]]
        await asyncio.sleep(0.01)
        await asyncio.sleep(0.4)
        await desk.stop()
        given = desk.knocks("given")
        holder = OFFICE.read_pass(text, line.now_us)
        assert isinstance(holder, Pass)
        desk.room.signed_up(holder)
        await desk.room.close()
        answers = await asyncio.gather(*held)
        assert sum(isinstance(answer, Wait) for answer in answers) == 15 - given
        assert line.room is not None
        assert (len(line.room.booked), line.room.signups) == (15 - given, 1)


@in_virtual_time
async def test_a_last_sign_up_is_told_though_nobody_was_let_in_since(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        await desk.stop()
        desk.room.signed_up(Pass(3, line.now_us + (PASS_S - 90) * S))
        await desk.room.close()
        assert line.room is not None
        assert (line.room.signups, line.room.form_s) == (1, 90)


# Ticks


@in_virtual_time
async def test_ticks_come_as_often_as_is_set_however_many_look_meanwhile(tmp_path: Path) -> None:
    """Who looks while the store is asked is the next tick's: they are no reason to tick at once."""
    line = Line()
    line.latency_s = lambda: 0.01
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        await asyncio.sleep(0.1)
        line.calls.clear()
        for number in range(2_000):
            desk.room.look(Ticket(number, 0))
            await asyncio.sleep(0.005)
        assert 38 <= len(line.asked("tick")) <= 42


@in_virtual_time
async def test_ticks_that_were_missed_are_not_made_up_for(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    loop: Any = asyncio.get_running_loop()
    async with ticking(desk):
        line.calls.clear()
        loop._hurry.now_s += 30
        await asyncio.sleep(1)
        assert 3 <= len(line.asked("tick")) <= 6


@in_virtual_time
async def test_who_does_not_fit_one_tick_comes_with_the_next_at_once_and_then_all_is_as_before(tmp_path: Path) -> None:
    line = Line()
    line.latency_s = lambda: 0.001
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        await asyncio.gather(*(came(desk, number) for number in range(3 * SEEN_MAX + 10)))
        await asyncio.sleep(30)
        line.calls.clear()
        for number in range(3 * SEEN_MAX + 10):
            desk.room.look(Ticket(number, 0))
        await asyncio.sleep(0.3)
        told = [len(notes.near) + len(notes.far) for notes in line.asked("tick")]
        assert told[:4] == [SEEN_MAX, SEEN_MAX, SEEN_MAX, 10]
        line.calls.clear()
        await asyncio.sleep(5)
        assert 19 <= len(line.asked("tick")) <= 21


@in_virtual_time
async def test_what_a_failed_tick_carried_comes_with_the_next(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 40)
        line.away = True
        await passes(desk, *tickets[:3])
        desk.room.signed_up(Pass(1, line.now_us + (PASS_S - 30) * S))
        desk.room.look(tickets[39])
        desk.room._given.append((7, 5 * PERSON))
        await asyncio.sleep(1)
        assert count(desk.slot, "sluicegate_room_ticks_total", "failed") == 4
        line.away = False
        await asyncio.sleep(0.3)
        notes = line.asked("tick")[-1]
        assert (notes.signups, notes.form_s, notes.given, 39 in notes.near) == (1, 30, [(7, 5 * PERSON)], True)
        await asyncio.sleep(0.3)
        assert line.asked("tick")[-1].signups == 0


@in_virtual_time
async def test_no_tick_tells_more_than_the_store_takes(tmp_path: Path) -> None:
    """After a while without the store there is much to tell; MemoryRoom asserts the bound."""
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        await crowd(desk, 10)
        for place in range(2_000):
            desk.room.look(Ticket(place, 0))
            desk.room._given.append((place, PERSON))
        await asyncio.sleep(1)
        assert not desk.room._given
        assert sum(len(notes.given) for notes in line.asked("tick")) == 2_000


@in_virtual_time
async def test_the_sign_is_on_disk_for_who_starts_next(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        await crowd(desk, 100)
        await asyncio.sleep(2)
    line.away = True
    later = Desk(line, tmp_path, 1)
    assert (later.room.sign.tail, later.room.sign.head) == (100, desk.room.sign.head)
    answer = later.room.look(Ticket(90, 0))
    assert (answer.state, answer.ahead > 0) == ("waiting", True)


# The store is away


@in_virtual_time
async def test_while_the_store_is_away_places_are_told_and_joins_are_provisional(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        line.away = True
        entry = await desk.room.join(join_id(500))
        assert isinstance(entry, Came)
        assert entry == Came(Provisional(join_id(500), line.now_us), is_new=True)
        assert desk.room.is_away
        await asyncio.sleep(1)
        line.calls.clear()
        assert desk.room.look(tickets[50]).state == "waiting"
        assert isinstance(await desk.room.join(join_id(501)), Came)
        assert await desk.room.placed(entry.ticket) == entry.ticket
        assert await desk.room.owner(Pass(3, 0), "a") is None
        answer = await desk.room.knock(entry.ticket)
        assert isinstance(answer, Wait)
        assert (answer.answer, desk.joins("provisional"), line.calls) == (None, 2, [])
        await asyncio.sleep(10)
        assert count(desk.slot, "sluicegate_room_away_seconds_total") >= 10
        assert desk.room.sign_age_ms >= 11_000


@in_virtual_time
async def test_who_has_no_place_is_booked_later_in_the_order_of_joining(tmp_path: Path) -> None:
    line = Line()
    one, other = Desk(line, tmp_path, 0), Desk(line, tmp_path, 1)
    async with ticking(one, other):
        await crowd(one, 50)
        line.away = True
        early: list[Provisional] = []
        for number in range(20):
            entry = await (one if number % 2 else other).room.join(join_id(500 + number))
            assert isinstance(entry, Came)
            assert isinstance(entry.ticket, Provisional)
            early.append(entry.ticket)
            await asyncio.sleep(0.05)
        line.away = False
        await asyncio.sleep(0.3)
        shuffled = random.Random(1).sample(early, len(early))
        found = await asyncio.gather(one.room.join(join_id(900)), *(one.room.placed(ticket) for ticket in shuffled))
        places = {ticket.joined_us: ticket.place for ticket in found[1:] if isinstance(ticket, Ticket)}
        assert [places[ticket.joined_us] for ticket in early] == list(range(50, 70))
        assert [await other.room.placed(ticket) for ticket in early] == [Ticket(places[ticket.joined_us], ticket.joined_us) for ticket in early]


@in_virtual_time
async def test_alone_the_door_runs_at_its_share_and_what_was_given_is_posted_first(tmp_path: Path) -> None:
    """Half of 10/s for each of two; nobody passes before the booked turns have, and none of them passes again."""
    line = Line()
    desk = Desk(line, tmp_path)
    loop = asyncio.get_running_loop()
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        line.away = True
        await asyncio.sleep(0.3)
        early = await desk.room.knock(tickets[3])
        assert isinstance(early, Wait)
        assert 4 <= early.retry_after_s <= 7
        away_s, ends = loop.time(), list[tuple[float, str]]()
        while loop.time() < away_s + 12:
            for ticket in tickets[:30]:
                answer = await desk.room.knock(ticket)
                if isinstance(answer, Through) and answer.pass_text not in [text for _, text in ends]:
                    ends.append((loop.time(), answer.pass_text))
            await asyncio.sleep(0.05)
        assert ends[0][0] - away_s >= 2.4
        assert all(later - earlier > 1.99 * TOKEN_S for (earlier, _), (later, _) in pairwise(ends))
        assert 30 <= len(ends) + 2 <= 48
        moved = [desk.room.look(ticket).state for ticket in tickets]
        assert (moved[100 - 1], moved[120 - 30]) == ("called", "called")  # its gate goes on at the whole rate
        line.calls.clear()
        line.away = False
        await asyncio.sleep(0.3)
        assert [name for name, _ in line.calls][:2] == ["recover", "tick"]
        assert len(line.asked("recover")[0]) == len(ends)
        assert line.room is not None
        assert line.room.passes == len(ends)
        again = set[str]()
        for first in range(0, 30, 5):  # as many as a worker sends on between two ticks
            again.update(await passes(desk, *tickets[first : first + 5]))
            await asyncio.sleep(0.3)
        assert again >= {text for _, text in ends}
        assert line.room.passes == len(again)


@in_virtual_time
async def test_an_answer_that_is_held_when_the_store_goes_is_given_and_a_repeat_shares_it(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path, workers=1)
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        held = [asyncio.create_task(desk.room.knock(ticket)) for ticket in tickets[:15]]
        await asyncio.sleep(0.1)
        line.away = True
        await asyncio.sleep(0.3)
        assert desk.room.is_away
        again = await passes(desk, tickets[14])
        answers = await asyncio.gather(*held)
        assert [isinstance(answer, Through) for answer in answers] == [True] * 15
        assert again == [answers[14].pass_text]  # type: ignore[union-attr]
        line.away = False
        await asyncio.sleep(0.6)
        assert line.room is not None
        assert not line.room.booked


@in_virtual_time
async def test_nothing_is_asked_of_a_store_that_is_back_before_what_was_given_is_posted(tmp_path: Path) -> None:
    """Joins and knocks that waited behind the call that failed fail with it; late ones knock when all is posted."""
    line = Line()
    line.latency_s = lambda: 0.01
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 100)
        line.calls.clear()
        lost = iter([True])
        line.loses = lambda: next(lost, False)
        asked = [asyncio.create_task(desk.room.join(join_id(1_000)))]
        await asyncio.sleep(0.005)
        asked += [asyncio.create_task(desk.room.join(join_id(number))) for number in range(1_001, 1_300)]
        entries = await asyncio.gather(*asked)
        assert all(isinstance(entry, Came) and isinstance(entry.ticket, Provisional) for entry in entries)
        assert [name for name, _ in line.calls if name != "tick"][:2] == ["join"]
        await asyncio.sleep(0.6)
        assert [name for name, _ in line.calls if name != "tick"] == ["join", "recover"]
        assert not desk.room.is_away
        assert len(await passes(desk, *tickets[:3])) == 3


@in_virtual_time
async def test_a_lost_answer_costs_nobody_their_place(tmp_path: Path) -> None:
    """It was done, and the worker does not know: who asks again has the same."""
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 60)
        lost = iter([True])
        line.loses = lambda: next(lost, False)
        assert isinstance(await desk.room.knock(tickets[0]), Wait)
        await asyncio.sleep(0.5)
        assert len(await passes(desk, tickets[0])) == 1
        lost = iter([True])
        entry = await desk.room.join(join_id(700))
        assert isinstance(entry, Came)
        await asyncio.sleep(0.5)
        assert await desk.room.placed(entry.ticket) == Ticket(60, entry.ticket.joined_us)


# The store is back, and knows less


@pytest.mark.parametrize("is_older", [True, False])
@in_virtual_time
async def test_a_store_that_forgot_gives_no_place_twice(tmp_path: Path, is_older: bool) -> None:
    """Who has a ticket keeps the place; newcomers stand behind everybody; still paused if it was."""
    line = Line()
    one, other = Desk(line, tmp_path, 0), Desk(line, tmp_path, 1)
    async with ticking(one, other):
        await crowd(one, 100)
        line.snapshot()
        tickets = await asyncio.gather(*(came(desk, number) for number in range(100, 200) for desk in [(one, other)[number % 2]]))
        await line.say(1, is_paused=True)
        await asyncio.sleep(0.3)
        last = await came(one, 999)  # since the last sign
        head = line.room.head if line.room else -1
        (line.older if is_older else line.forget)()
        newcomer = await came(other, 5_000)
        assert newcomer.place >= 201
        await asyncio.sleep(0.6)
        assert line.room is not None
        assert (line.room.clock.is_paused, line.room.head) == (True, head)
        assert last.place == 200
        more = await asyncio.gather(*(came(desk, number) for number in range(6_000, 6_100) for desk in (one, other)))
        assert min(ticket.place for ticket in more) > 200
        assert len({ticket.place for ticket in more}) == 100
        await asyncio.sleep(0.3)
        assert one.room.sign.tail == other.room.sign.tail == line.room.tail < 200 + 2 * MARGIN
        await line.say(2, is_paused=False)
        through = set[int]()
        for _ in range(200):
            await asyncio.sleep(0.3)
            for desk, ticket in zip((one, other) * 50, tickets, strict=True):
                if ticket.place not in through and desk.room.look(ticket).state == "called" and isinstance(await desk.room.knock(ticket), Through):
                    through.add(ticket.place)
        assert through == set(range(100, 200))


@in_virtual_time
async def test_a_place_that_was_given_since_the_last_sign_is_not_given_again(tmp_path: Path) -> None:
    """Even where the line was raised by a worker that did not know of it: here by nobody, and without a margin."""
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        await crowd(desk, 50)
        line.snapshot()
        last = await came(desk, 500)
        line.older()
        line.is_lost = False  # a replica that took over, and whose restart nobody noticed
        assert (await came(desk, 501)).place > last.place
        await asyncio.sleep(0.5)
        assert not desk.room.is_away


@pytest.mark.parametrize("is_restarted", [False, True])
@in_virtual_time
async def test_a_worker_notices_what_it_has_only_read_of(tmp_path: Path, is_restarted: bool) -> None:
    """In a sign, or in the file of the one before it."""
    line = Line()
    one, other = Desk(line, tmp_path, 0), Desk(line, tmp_path, 1)
    async with ticking(one, other):
        await crowd(one, 50)
        line.snapshot()
        await crowd(one, 50, first=50)
        await asyncio.sleep(1.5)
    line.older()
    line.is_lost = False  # nobody noticed
    reader = Desk(line, tmp_path, 1) if is_restarted else other
    async with ticking(reader):
        assert (await came(reader, 900)).place >= 100


@in_virtual_time
async def test_who_is_let_in_while_the_rest_is_posted_is_posted_too(tmp_path: Path) -> None:
    """And then nobody until it is done: else there would always be somebody more to post, and the store never taken back."""
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 60)
        line.away = True
        await asyncio.sleep(4)
        first = await passes(desk, tickets[0])
        await asyncio.sleep(0.2)  # a turn of its share
        line.latency_s = lambda: 0.3
        line.away = False
        line.calls.clear()
        while not line.asked("recover"):
            await asyncio.sleep(0.01)
        second = await passes(desk, tickets[1])
        while len(line.asked("recover")) < 2:
            await asyncio.sleep(0.01)
        assert await passes(desk, tickets[2]) == []
        await asyncio.sleep(3)
        assert [len(given) for given in line.asked("recover")] == [1, 2]
        assert await passes(desk, tickets[0], tickets[1]) == first + second


@in_virtual_time
async def test_who_is_through_and_knocks_on_takes_nobodys_turn(tmp_path: Path) -> None:
    """One of them could else use up what a worker sends on to the store in a tick."""
    line = Line()
    desk = Desk(line, tmp_path, workers=1)
    async with ticking(desk):
        tickets = await crowd(desk, 30)
        first = await passes(desk, tickets[0])
        line.calls.clear()
        for _ in range(500):
            assert await passes(desk, tickets[0]) == first
        assert line.asked("door") == []
        assert len(await passes(desk, *tickets[1:10])) == 9


@in_virtual_time
async def test_a_pause_said_while_the_store_is_away_holds_for_the_door_here_too(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 60)
        line.away = True
        await asyncio.sleep(4)
        assert await passes(desk, tickets[0])
        desk.room.said(Acts(line.now_us, is_paused=True))
        await asyncio.sleep(1)
        assert await passes(desk, tickets[1]) == []
        desk.room.said(Acts(line.now_us + 1, is_paused=False))
        assert await passes(desk, tickets[1])


@in_virtual_time
async def test_a_close_said_while_the_store_is_away_holds_here_too(tmp_path: Path) -> None:
    """Nobody gets a ticket, nobody is let in, who waits is told; and all goes on when it opens."""
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 60)
        line.away = True
        await asyncio.sleep(4)
        provisional = await desk.room.join(join_id(500))
        assert isinstance(provisional, Came)
        desk.room.said(Acts(line.now_us, is_closed=True, message="오늘은 끝났습니다"))
        await asyncio.sleep(1)
        assert (await desk.room.join(join_id(501)), desk.joins("closed")) == (NoEntry.CLOSED, 1)
        assert await passes(desk, *tickets[:3]) == []
        assert {desk.room.look(ticket).state for ticket in tickets} == {"closed"}
        assert (desk.room.sign.state, desk.room.sign.acts.message) == ("closed", "오늘은 끝났습니다")
        assert not desk.room.provisional_may_knock
        desk.room.said(Acts(line.now_us + 1))
        assert await passes(desk, tickets[1])
        assert isinstance(await desk.room.join(join_id(501)), Came)
        assert {desk.room.look(ticket).state for ticket in tickets} <= {"called", "waiting"}


@in_virtual_time
async def test_a_room_that_is_closed_when_the_store_goes_away_stays_so(tmp_path: Path) -> None:
    """By the last sign, and by what the supervisor said to a worker that has never had one."""
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        await crowd(desk, 60)
        await line.say(7, is_closed=True)
        await asyncio.sleep(0.6)
        line.away = True
        assert await desk.room.join(join_id(500)) is NoEntry.CLOSED
        fresh = Desk(line, tmp_path / "fresh")
        fresh.room.said(Acts(7, is_closed=True))
        assert await fresh.room.join(join_id(500)) is NoEntry.CLOSED
        assert fresh.room.sign.state == "closed"


@in_virtual_time
async def test_a_store_that_comes_back_without_the_close_lets_nobody_in_before_it_hears_of_it(tmp_path: Path) -> None:
    """What the worker posts meanwhile does not open its own door again."""
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 60)
        line.away = True
        await asyncio.sleep(4)
        acts = Acts(line.now_us, is_closed=True)
        desk.room.said(acts)
        line.away = False
        line.latency_s = lambda: 0.2
        await asyncio.sleep(0.3)  # in the middle of posting
        assert desk.room.is_away
        assert desk.room.look(tickets[0]).state == "closed"
        assert await desk.room.join(join_id(500)) is NoEntry.CLOSED
        assert await line.act(acts)
        line.latency_s = lambda: 0.0
        await asyncio.sleep(2)
        assert await desk.room.join(join_id(500)) is NoEntry.CLOSED
        assert line.room is not None
        assert (line.room.tail, desk.knocks("given")) == (60, 0)
        assert desk.room.look(tickets[0]).state == "closed"


@in_virtual_time
async def test_a_store_that_was_emptied_is_raised_closed_by_who_was_told_so_last(tmp_path: Path) -> None:
    """Before the supervisor says it again: else people would be let in until it does."""
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 60)
        line.away = True
        await asyncio.sleep(1)
        desk.room.said(Acts(line.now_us, is_closed=True))
        line.forget()
        line.away = False
        await asyncio.sleep(1)
        assert line.room is not None
        assert (line.room.acts.is_closed, line.room.clock.is_paused, line.room.head >= desk.room.sign.head) == (True, True, True)
        assert await desk.room.join(join_id(500)) is NoEntry.CLOSED
        assert await passes(desk, *tickets[:5]) == []


@in_virtual_time
async def test_a_close_is_told_here_as_soon_as_it_is_said_and_an_opening_when_the_store_has_it(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        tickets = await crowd(desk, 60)
        held = asyncio.create_task(desk.room.knock(tickets[10]))
        await asyncio.sleep(0)
        closed, opened = Acts(line.now_us, is_closed=True), Acts(line.now_us + 1)
        desk.room.said(closed)
        assert desk.room.look(tickets[50]).state == "closed"
        assert await line.act(closed)
        assert isinstance(await held, Wait)
        await asyncio.sleep(0.6)
        desk.room.said(opened)
        assert desk.room.look(tickets[50]).state == "closed"
        assert await line.act(opened)
        await asyncio.sleep(0.6)
        assert desk.room.look(tickets[50]).state == "waiting"


@in_virtual_time
async def test_two_who_claim_one_pass_at_once_are_told_apart_in_one_call(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        line.calls.clear()
        owners = await asyncio.gather(*(desk.room.owner(Pass(3, 0), str(number)) for number in range(40)))
        assert owners == ["0"] * 40
        assert len(line.asked("owners")) == 1
        assert not desk.room.is_away


@in_virtual_time
async def test_a_new_line_that_is_forgotten_before_its_first_sign_goes_on(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    await line.recover(None, 0)
    first = await came(desk, 1)
    line.forget()
    async with ticking(desk):
        assert not desk.room.is_away
        assert (await came(desk, 2)).place > first.place


@in_virtual_time
async def test_after_a_restart_of_everything_the_line_goes_on_from_disk(tmp_path: Path) -> None:
    line = Line()
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        await crowd(desk, 100)
        await line.say(7, is_paused=True)
        await asyncio.sleep(2)
    line.forget()
    after = Desk(line, tmp_path)
    async with ticking(after):
        assert line.room is not None
        assert (line.room.tail, line.room.acts.version, line.room.clock.is_paused) == (100 + MARGIN, 7, True)
        assert (await came(after, 900)).place == 100 + MARGIN


@in_virtual_time
async def test_a_line_that_nobody_remembers_is_a_new_one(tmp_path: Path) -> None:
    line = Line()
    line.away = True
    desk = Desk(line, tmp_path)
    async with ticking(desk):
        entry = await desk.room.join(join_id(1))
        assert isinstance(entry, Came)
        line.away = False
        await asyncio.sleep(0.6)
        assert await desk.room.placed(entry.ticket) == Ticket(0, entry.ticket.joined_us)


@in_virtual_time
async def test_the_first_application_owns_the_pass(tmp_path: Path) -> None:
    desk = Desk(Line(), tmp_path)
    async with ticking(desk):
        for name, owner in (("a", "a"), ("b", "a"), ("a", "a")):
            assert await desk.room.owner(Pass(3, 0), name) == owner
        assert await desk.room.owner(Pass(b"12345678", 0), "b") == "b"


# Keys


def keys(*tickets: SecretKey) -> Keys:
    return Keys((), tickets)


def test_a_key_that_is_changed_reads_old_tickets_and_gives_no_join_another_place() -> None:
    """The join hash goes by the secret of the limits, which stays."""
    old, new = (SecretKey(kid, letter * 43) for kid, letter in (("t1", "A"), ("t2", "B")))
    offices = [office(SETTINGS, keys(*of), b"s" * 32) for of in ((old,), (old, new), (new, old), (new,))]
    text = offices[0].ticket(7, 5)
    assert [made.read_ticket(text) for made in offices] == [Ticket(7, 5)] * 3 + [Flaw.UNKNOWN_KEY]
    number = UUID("0190a6f0-0000-4000-8000-000000000001")
    assert len({made.join_hash(number) for made in offices}) == 1
    assert office(SETTINGS, keys(old), b"t" * 32).join_hash(number) != offices[0].join_hash(number)


@pytest.mark.parametrize("of", [(), (SecretKey("t1", "A" * 10),), tuple(SecretKey(f"t{number}", "A" * 43) for number in range(3))])
def test_keys_that_cannot_sign_are_a_setting_that_is_wrong(of: tuple[SecretKey, ...]) -> None:
    with pytest.raises(ConfigError, match="keys file"):
        office(SETTINGS, keys(*of), b"s" * 32)


def test_each_line_has_files_of_its_own(tmp_path: Path) -> None:
    file = files_in(tmp_path, SETTINGS, 3)
    file.write(Room.opened(policy_of(SETTINGS), 100_000, 0).tick(0))
    assert [path.name for path in tmp_path.iterdir()] == ["room-signup-1.3.sign"]


@in_virtual_time
async def test_other_settings_hold_at_once(tmp_path: Path) -> None:
    """A ticket that was taken back, and how often people ask: by the ceiling."""
    line = Line()
    desk = Desk(line, tmp_path, workers=1)
    async with ticking(desk):
        await crowd(desk, 100)
        settings = structs.replace(desk.room.settings, revoked=(7,), ceiling_per_s=desk.room.settings.ceiling_per_s * 10)
        before_s = desk.room.look_ahead(99).poll_after_s
        desk.room.reload(settings)
        assert desk.room.revoked == {7}
        assert desk.room.look_ahead(99).poll_after_s <= before_s


@in_virtual_time
async def test_alone_the_workers_of_this_machine_share_the_rate_however_few_were_planned(tmp_path: Path) -> None:
    """Four with a plan for one: a door each as wide as the rate would be four times too wide."""
    line = Line()
    settings = structs.replace(SETTINGS, fleet_workers_max=1)
    desks = [Desk(line, tmp_path, index=index, workers=4, settings=settings) for index in range(4)]
    async with ticking(*desks):
        tickets = await crowd(desks[0], 100)
        line.away = True
        await asyncio.sleep(4)
        given: set[str] = set()
        for _ in range(50):
            for index, desk in enumerate(desks):
                given |= set(await passes(desk, *tickets[index * 25 : index * 25 + 25]))
            await asyncio.sleep(0.1)
        assert 0 < len(given) <= 5 / TOKEN_S + len(desks)
