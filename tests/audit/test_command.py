"""The audit's answer, to the unit: lines, a spool on disk, and a log that holds what the script says."""

import argparse
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from gateway.__main__ import main
from gateway.audit import command, files
from gateway.audit.command import DONE, FAILED, MISSING, UNJUDGED, USAGE, Outcome
from gateway.audit.stored import Log, Stored
from gateway.config import Config, Process
from gateway.core import audit
from gateway.core.audit import Line
from gateway.core.event import Record, replayed
from gateway.errors import BrokerAway
from gateway.spool.disk_spool import DiskSpool
from gateway.spool.key import secrets_of
from tests import records as parsing
from tests.audit.test_files import unreadable
from tests.fakes import FakeClock, in_virtual_time
from tests.minutes import event_id
from tests.records import made
from tests.simulated_disk import SimulatedDisk
from tests.spools import SETTINGS

DATA: Final = Path("/data")
CONFIG: Final = Config(process=Process(data_dir=str(DATA)))
MINUTE: Final = audit.minute_of("2026-12-18T06:00Z")
WORKER: Final = "0000002a"
HOME: Final = "07" * 8


class FakeLog(Log):
    """Topics as lists of records."""

    def __init__(self) -> None:
        super().__init__("", 0.0)
        self.topics: dict[str, list[Stored]] = {"audit.v1": [], "syncs.v1": [], "signups.v1": []}
        self.asked: list[tuple[str, int]] = []

    async def read(self, topic: str, from_ms: int) -> AsyncIterator[list[Stored]]:
        self.asked.append((topic, from_ms))
        if topic not in self.topics:
            raise BrokerAway(f"no topic {topic}")
        for one in self.topics[topic]:
            yield [one]


def event(n: int, minute: int = MINUTE, worker: str = WORKER, request: int = 0) -> Record:
    """The nth event, as one request brought it."""
    received_us = minute * 60_000_000 + request
    name = audit.text_of(event_id(n))
    headers = [("worker", worker.encode()), ("received_us", b"%016d" % received_us), ("ce_id", name.encode())]
    return made(name, b"u1", b"{}", headers, received_us // 1000)


def line(ids: Iterable[int], minute: int = MINUTE, **changed: Any) -> Line:
    cells = audit.cells_of(event_id(n) for n in ids)
    said = Line(
        worker=WORKER,
        minute=audit.minute_text(minute),
        part=1,
        since=audit.minute_text(MINUTE),
        acknowledged=audit.acknowledged_of(cells),
        hash=f"{audit.hash_of(cells):032x}",
        machine="gw-1",
        home=HOME,
        cells=audit.packed(cells),
    )
    return msgspec.structs.replace(said, **changed)


class World:
    """What Kafka and this machine's disk hold."""

    def __init__(self) -> None:
        self.log, self.disk = FakeLog(), SimulatedDisk()
        self.disk.make_directory(DATA / "audit")
        self.disk.create(DATA / "audit" / "home").append(HOME.encode())
        self.clock = FakeClock()
        self.clock.now_us = (MINUTE + 600) * 60_000_000

    def post(self, *lines: Line) -> None:
        for one in lines:
            self.log.topics["audit.v1"].append(Stored(audit.minute_of(one.minute) * 60_000, audit.encoded(one), ()))

    def store(self, records: Iterable[Record], topic: str = "syncs.v1") -> None:
        for one in map(parsing.stored, records):
            self.log.topics[topic].append(Stored(one.timestamp_ms, one.value, one.headers))

    async def spool(self) -> DiskSpool:
        secrets = secrets_of((), self.disk, DATA, CONFIG.spool_path, lambda n: bytes(range(n)))
        spool = DiskSpool(SETTINGS, CONFIG.spool_path / "0", secrets, self.clock.clock, self.disk, reserved_for="signups.v1")
        await spool.open()
        return spool

    async def run(self, *, minutes: int = 1, until: int | None = None, **flags: bool) -> Outcome:
        arguments = argparse.Namespace(since=MINUTE, until=MINUTE + minutes if until is None else until, **({"everywhere": False, "strict": False} | flags))
        return await command.run(CONFIG, arguments, self.disk, self.clock.clock, self.log)

    async def told(self, **arguments: Any) -> tuple[int, dict[str, int], list[str]]:
        """(exit code, counts that are not 0, the lines below them)."""
        code, text = await self.run(**arguments)
        counts, rest = {}, []
        for one in text.splitlines()[2:]:
            name, _, value = one.partition(": ")
            if value.isdigit():
                counts[name] = int(value)
            else:
                rest.append(one)
        return code, {name: value for name, value in counts.items() if value}, rest


@in_virtual_time
async def test_all_that_was_acknowledged_is_there() -> None:
    w = World()
    w.post(line(range(100)))
    w.store([event(n) for n in range(60)])
    w.store([event(n) for n in range(60, 100)], "signups.v1")
    assert await w.told() == (DONE, {"acknowledged": 100, "found": 100}, [])
    assert w.log.asked == [("audit.v1", (MINUTE - 5) * 60_000), *((topic, MINUTE * 60_000) for topic in ("syncs.v1", "signups.v1"))]


@in_virtual_time
async def test_what_is_missing_is_named_and_exits_4() -> None:
    w = World()
    w.post(line(range(100)))
    w.store([event(n) for n in range(100) if n not in (17, 44)])
    names = sorted(audit.text_of(event_id(n)) for n in (17, 44))
    code, counts, rest = await w.told()
    assert (code, counts) == (MISSING, {"acknowledged": 100, "found": 98, "missing": 2})
    assert sorted(rest) == [f"missing {name} worker 0000002a 2026-12-18T06:00Z" for name in names]


@in_virtual_time
async def test_spooled_and_rejected_are_not_missing() -> None:
    w = World()
    spool = await w.spool()
    w.post(line(range(30)))
    w.store([event(n) for n in range(10)])
    sequences = await spool.append("syncs.v1", 0, [event(n) for n in range(8, 29)])
    spool.reject("syncs.v1", 0, sequences.stop - 1, event(28))
    await spool._idle()
    # Everything else of its segment is in Kafka, and the segment is gone.
    spool.settle(range(sequences.start, sequences.start + 5))
    code, counts, rest = await w.told()
    assert (code, counts) == (MISSING, {"acknowledged": 30, "found": 10, "still in spool": 19, "missing": 1})
    assert rest == [f"missing {audit.text_of(event_id(29))} worker 0000002a 2026-12-18T06:00Z"]
    w.store([event(n) for n in (*range(10, 28), 29)])
    spool.settle(sequences)
    await spool.close()
    assert await w.told() == (DONE, {"acknowledged": 30, "found": 29, "rejected": 1}, [])


@in_virtual_time
async def test_what_is_replayed_while_it_is_looked_for_is_seen() -> None:
    """It leaves the spool for Kafka between two looks: whichever topic is read first, the spool was read before it."""
    w = World()
    spool = await w.spool()
    w.post(line(range(5)))
    sequences = await spool.append("syncs.v1", 0, [event(n) for n in range(5)])
    read = w.log.read

    async def replays_behind(topic: str, from_ms: int) -> AsyncIterator[list[Stored]]:
        async for batch in read(topic, from_ms):
            yield batch
        if topic == "syncs.v1":
            w.store([event(n) for n in range(5)])
            spool.settle(sequences)
            await spool.close()

    w.log.read = replays_behind  # type: ignore[method-assign]
    assert await w.told() == (DONE, {"acknowledged": 5, "still in spool": 5}, [])


@in_virtual_time
async def test_what_is_stored_twice_is_found_once() -> None:
    w = World()
    w.post(line(range(20)))
    w.store([event(n) for n in range(20)])
    w.store([replayed(event(n)) for n in range(5)])
    assert await w.told() == (DONE, {"acknowledged": 20, "found": 20, "duplicates": 5}, [])


@in_virtual_time
async def test_an_event_that_was_sent_twice_is_acknowledged_twice() -> None:
    w = World()
    w.post(line([0, 0, 1]))
    w.store([event(0), event(1)])
    assert (await w.told())[:2] == (MISSING, {"acknowledged": 3, "found": 2, "missing": 1})
    w.store([event(0, request=1)])
    assert await w.told() == (DONE, {"acknowledged": 3, "found": 3}, [])


@in_virtual_time
async def test_a_record_nobody_was_answered_for_is_no_loss() -> None:
    w = World()
    w.post(line(range(20)))
    w.store([event(n) for n in range(23)])
    assert await w.told() == (DONE, {"acknowledged": 20, "found": 20, "found, not acknowledged": 3}, [])


@in_virtual_time
async def test_parts_add_up_and_one_that_is_there_twice_counts_once() -> None:
    w = World()
    w.post(line(range(20)), line(range(20, 30), part=2), line(range(20)), line([], part=0))
    w.store([event(n) for n in range(30)])
    assert await w.told() == (DONE, {"acknowledged": 30, "found": 30}, [])


@in_virtual_time
async def test_lines_that_still_wait_on_this_machines_disk_count_too() -> None:
    w = World()
    file = w.disk.create(DATA / "audit" / "3.lines")
    file.append(audit.encoded(line(range(5))) + b"\n" + audit.encoded(line(range(5, 9), part=2)) + b"\n" + b'{"worker":')
    w.post(line(range(5)))
    w.store([event(n) for n in range(9)])
    assert await w.told() == (DONE, {"acknowledged": 9, "found": 9}, [])


@in_virtual_time
async def test_a_minute_without_its_line_is_unaudited() -> None:
    """Where there are records of it; and where there is nothing but the lines of before and after."""
    w = World()
    w.post(line([0]), line([1], MINUTE + 2), line([2], MINUTE + 4, is_last=True))
    w.store([event(0), event(1, MINUTE + 2), event(2, MINUTE + 4), event(3, MINUTE + 3), event(4, worker="0000002b")])
    code, counts, rest = await w.told(minutes=9)
    assert (code, counts) == (DONE, {"acknowledged": 3, "found": 3, "unaudited minutes": 3})
    assert rest == [
        "unaudited 2026-12-18T06:01Z worker 0000002a: 0 records found",
        "unaudited 2026-12-18T06:03Z worker 0000002a: 1 records found",
        "unaudited 2026-12-18T06:00Z worker 0000002b: 1 records found",
    ]
    assert (await w.told(minutes=9, strict=True))[0] == UNJUDGED


@in_virtual_time
async def test_silence_after_the_last_line_is_unaudited_unless_it_says_that_it_is_the_last() -> None:
    w = World()
    w.post(line([]))
    assert (await w.told(minutes=3))[1] == {"unaudited minutes": 2}
    w.post(line([], part=0, is_last=True))
    assert await w.told(minutes=3, strict=True) == (DONE, {}, [])


@in_virtual_time
async def test_who_was_heard_of_just_before_and_never_again_is_unaudited() -> None:
    """Until somebody else has started in the same home: then another supervisor posts, and this one's workers have ended."""
    w = World()
    w.post(line([], MINUTE - 1, since=audit.minute_text(MINUTE - 5)))
    assert (await w.told(minutes=9))[1] == {"unaudited minutes": 9}
    w.post(line([], MINUTE + 3, worker="0000002b", since=audit.minute_text(MINUTE + 4), home="08" * 8))
    assert (await w.told(minutes=9))[1] == {"unaudited minutes": 9 + 5}
    w.post(line([], MINUTE + 3, worker="0000002c", since=audit.minute_text(MINUTE + 4), home=HOME))
    assert (await w.told(minutes=9))[1] == {"unaudited minutes": 6 + 5 + 5}


@in_virtual_time
async def test_whose_last_lines_a_power_cut_took_is_heard_of_minutes_before() -> None:
    """It was cut in the first seconds of a minute: the line of the one before was not due yet."""
    w = World()
    w.post(*(line([], minute, since=audit.minute_text(MINUTE - 600), part=0) for minute in range(MINUTE - 9, MINUTE - 1)))
    w.post(*(line([], minute, worker="0000002b", since=audit.minute_text(MINUTE + 1), part=0) for minute in range(MINUTE, MINUTE + 5)))
    code, _, rest = await w.told(minutes=5, strict=True)
    assert code == UNJUDGED
    assert rest[0] == "unaudited 2026-12-18T06:00Z worker 0000002a: 0 records found"


@in_virtual_time
async def test_a_minute_with_events_that_had_no_sheet_is_unaudited() -> None:
    """Whichever comes first, the line that says so or an empty one of the same minute."""
    for lines in ((line([], part=0), line([], part=0, uncounted=100)), (line([], part=0, uncounted=100), line([], part=0))):
        w = World()
        w.post(*lines, line([], MINUTE + 1, part=0, is_last=True))
        code, counts, rest = await w.told(minutes=2, strict=True)
        assert (code, counts) == (UNJUDGED, {"unaudited minutes": 1})
        assert rest == ["unaudited 2026-12-18T06:00Z worker 0000002a: 0 records found"]


@in_virtual_time
async def test_a_part_that_is_lost_makes_its_minutes_unaudited() -> None:
    w = World()
    w.post(line([0], part=1), line([1], part=3), line([2], MINUTE + 1, part=4), line([], MINUTE + 2, part=0, is_last=True))
    w.store([event(0), event(1), event(2, MINUTE + 1)])
    code, counts, rest = await w.told(minutes=3, strict=True)
    assert (code, counts) == (UNJUDGED, {"acknowledged": 3, "found": 3, "unaudited minutes": 1})
    assert rest == ["unaudited 2026-12-18T06:00Z worker 0000002a: 2 records found"]


@in_virtual_time
async def test_a_late_part_that_is_lost_is_noticed_by_the_one_that_follows_it() -> None:
    """Also where that one is of a minute behind those that were asked for."""
    w = World()
    w.post(line([0], part=1), line([1], MINUTE + 1, part=3))
    w.store([event(0), event(1, MINUTE + 1)])
    assert (await w.told(strict=True))[:2] == (UNJUDGED, {"acknowledged": 1, "found": 1, "unaudited minutes": 1})


@in_virtual_time
async def test_a_lost_part_that_is_a_whole_minute_is_that_minute_and_no_other() -> None:
    w = World()
    w.post(line([0], part=1), line([1], MINUTE + 2, part=3, is_last=True))
    w.store([event(0), event(1, MINUTE + 2)])
    assert (await w.told(minutes=3))[2] == ["unaudited 2026-12-18T06:01Z worker 0000002a: 0 records found"]


@in_virtual_time
async def test_one_torn_part_of_several_is_enough() -> None:
    w = World()
    torn = event_id(9)
    cells = {audit.number_of(torn): audit.Cell(0, torn, 0)}
    beside = next(n for n in count(10) if audit.number_of(event_id(n)) == audit.number_of(torn))
    w.post(line([beside]), line([], part=2, is_torn=True, cells=audit.packed(cells), hash=f"{torn:032x}"), line([], MINUTE + 1, part=0))
    w.store([event(beside), event(9)])
    assert (await w.told())[:2] == (DONE, {"acknowledged": 1, "found": 1, "found, not acknowledged": 1})


@in_virtual_time
async def test_a_line_that_contradicts_itself_leaves_something_to_judge() -> None:
    w = World()
    w.post(line([0]), line([0], part=2, acknowledged=7), line([], MINUTE + 1, part=0))
    w.store([event(0)])
    assert (await w.told())[0] == DONE
    assert (await w.told(strict=True))[0] == UNJUDGED


@in_virtual_time
async def test_a_frame_that_cannot_be_read_leaves_something_to_judge() -> None:
    w = World()
    spool = await w.spool()
    for first in range(0, 9, 3):
        await spool.append("syncs.v1", 0, [event(n) for n in range(first, first + 3)])
    w.post(line(range(9), is_last=True))
    w.store([event(n) for n in range(9)])
    assert (await w.told(strict=True))[0] == DONE
    [segment] = [name for name in w.disk.names(CONFIG.spool_path / "0") if name.endswith(".spool")]
    w.disk.inodes[w.disk.directories[CONFIG.spool_path / "0"][segment]][150] ^= 1
    code, _, rest = await w.told(strict=True)
    assert (code, rest) == (UNJUDGED, ["note: 1 frames of the spool that cannot be read"])
    assert (await w.told())[0] == DONE


@in_virtual_time
async def test_a_file_of_lines_that_cannot_be_read_leaves_something_to_judge() -> None:
    w = World()
    w.post(line(range(3), is_last=True))
    w.store([event(n) for n in range(3)])
    files.put_lines(w.disk, DATA, "1-0", [line(range(3))])
    unreadable(w.disk, "1-0.lines")
    note = "note: audit/1-0.lines cannot be read: lines in it are not known"
    assert await w.told() == (DONE, {"acknowledged": 3, "found": 3}, [note])
    assert (await w.told(strict=True))[0] == UNJUDGED


@in_virtual_time
async def test_a_disk_that_says_no_file_is_told_with_the_data_directory() -> None:
    w = World()
    unreadable(w.disk, "home")
    assert await w.run() == (FAILED, "/data: Input/output error")


@in_virtual_time
async def test_without_an_end_it_stops_at_the_last_minute_whose_lines_are_due() -> None:
    """A minute's last answer may take deliver.timeout_ms, and its line a minute from then."""
    w = World()
    waits_us = CONFIG.deliver.timeout_ms * 1000 + 60_000_000
    for now_us, minutes in (((MINUTE + 3) * 60_000_000 + waits_us, 3), ((MINUTE + 3) * 60_000_000 + waits_us - 1_000_000, 2)):
        w.clock.now_us = now_us
        arguments = argparse.Namespace(since=MINUTE, until=None, everywhere=False, strict=False)
        _, text = await command.run(CONFIG, arguments, w.disk, w.clock.clock, w.log)
        assert text.splitlines()[1] == f"to: {audit.minute_text(MINUTE + minutes)}"


@in_virtual_time
async def test_minutes_that_have_not_begun_are_not_unaudited() -> None:
    w = World()
    w.post(*[line([], MINUTE + n) for n in range(601)])
    assert (await w.told(minutes=100_000))[0] == DONE
    assert "unaudited minutes" not in (await w.told(minutes=100_000))[1]
    _, text = await w.run(minutes=100_000)
    assert text.splitlines()[1] == f"to: {audit.minute_text(MINUTE + 601)}"


@in_virtual_time
async def test_without_a_name_of_its_own_no_data_directory_is_ours() -> None:
    w = World()
    w.disk.unlink(DATA / "audit" / "home")
    w.post(line([0], home="", machine="gw-2"))
    assert (await w.told())[:2] == (DONE, {"acknowledged": 1, "elsewhere": 1})


@in_virtual_time
async def test_other_minutes_are_not_looked_at() -> None:
    w = World()
    w.post(line([0], is_last=True), line([1], MINUTE - 1), line([2], MINUTE + 1))
    w.store([event(0), event(3, MINUTE - 1), event(4, MINUTE + 1)])
    assert await w.told(strict=True) == (DONE, {"acknowledged": 1, "found": 1}, [])


@in_virtual_time
async def test_what_another_machine_may_hold_is_elsewhere_until_it_is_said_to_hold_nothing() -> None:
    w = World()
    w.post(line(range(5), home="08" * 8, machine="gw-2"))
    w.store([event(n) for n in range(4)])
    code, counts, rest = await w.told()
    assert (code, counts) == (DONE, {"acknowledged": 5, "found": 4, "elsewhere": 1})
    assert rest == [f"elsewhere (gw-2) {audit.text_of(event_id(4))} worker 0000002a 2026-12-18T06:00Z"]
    assert (await w.told(strict=True))[0] == UNJUDGED
    assert (await w.told(everywhere=True))[:2] == (MISSING, {"acknowledged": 5, "found": 4, "missing": 1})


@in_virtual_time
async def test_a_worker_whose_first_lines_have_a_drawn_name_is_ours_by_any_other_line() -> None:
    """The disk was slow to say the name; whichever line is read first, and whichever minute has the loss."""
    before, after = line([], MINUTE - 1, part=0, home="08" * 8), line([], MINUTE + 1, part=0, is_last=True)
    for lines in (
        (before, line(range(100)), after),
        (after, line(range(100)), before),
        (before, line(range(100), home="08" * 8), after),
    ):
        w = World()
        w.post(*lines)
        w.store([event(n) for n in range(99)])
        code, counts, rest = await w.told()
        assert (code, counts) == (MISSING, {"acknowledged": 100, "found": 99, "missing": 1})
        assert rest == [f"missing {audit.text_of(event_id(99))} worker 0000002a 2026-12-18T06:00Z"]


@in_virtual_time
async def test_a_line_that_was_changed_proves_nothing() -> None:
    w = World()
    w.post(line(range(5), acknowledged=4))
    w.store([event(n) for n in range(4)])
    code, counts, rest = await w.told(strict=True)
    assert (code, counts) == (UNJUDGED, {"unaudited minutes": 1})
    assert "note: 1 lines of audit.v1 that contradict themselves" in rest


@in_virtual_time
async def test_what_is_strange_is_noted() -> None:
    w = World()
    w.post(line([], is_last=True))
    name = audit.text_of(event_id(1)).encode()
    for headers in (
        [("worker", b"x")],
        [("worker", None), ("received_us", b"1"), ("ce_id", name)],
        [("worker", b"x"), ("received_us", None), ("ce_id", name)],
        [("worker", b"x"), ("received_us", b"1"), ("ce_id", None)],
        [("worker", b"x"), ("received_us", b"-1"), ("ce_id", name)],
        [("worker", b"x"), ("received_us", b"1"), ("ce_id", b"e1")],
        [("worker", b"\xff"), ("received_us", b"1"), ("ce_id", name)],
    ):
        w.log.topics["syncs.v1"].append(Stored(MINUTE * 60_000, b"", headers))
    w.log.cut.add("signups.v1")
    read = w.log.read

    async def cut(topic: str, from_ms: int) -> AsyncIterator[list[Stored]]:
        async for batch in read(topic, from_ms):
            yield batch
        w.log.cut.add(topic) if topic == "signups.v1" else None

    w.log.read = cut  # type: ignore[method-assign]
    code, counts, rest = await w.told()
    assert (code, counts) == (DONE, {})
    assert rest == ["note: signups.v1 begins within this time or later: older records may have been deleted", "note: 7 records without a gateway's headers"]


@in_virtual_time
async def test_without_kafka_there_is_no_answer() -> None:
    w = World()
    del w.log.topics["audit.v1"]
    code, text = await w.run()
    assert code == FAILED
    assert "no topic audit.v1" in text


@in_virtual_time
async def test_a_range_that_holds_no_minute_is_refused() -> None:
    w = World()
    for until in (MINUTE, MINUTE - 5):
        assert (await w.run(until=until)).code == USAGE


@in_virtual_time
async def test_a_long_list_is_cut_and_says_so() -> None:
    w = World()
    w.clock.now_us = (MINUTE + 4_000) * 60_000_000
    w.post(*[line([], MINUTE + n, part=0) for n in range(0, 4_000, 2)])
    _, text = await w.run(minutes=4_000)
    assert len(text.splitlines()) < 1_050
    assert "and 1000 lines more" in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "required: --from"),
        (("--from", "2026-12-18T06:00"), "time with a zone"),
        (("--from", "yesterday"), "time with a zone"),
        (("--from", "2026-12-18T06:00+09:00", "--to", "x"), "time with a zone"),
        (("--from", "1969-12-31T23:59:59.5Z"), "--from: 1969-12-31T23:59:59.5Z: want a time from 1970"),
        (("--from", "0001-01-01T00:00+14:00"), "want a time from 1970"),
        (("--from", "2026-12-18T06:00Z", "--to", "9999-12-31T23:59-14:00"), "--to: 9999-12-31T23:59-14:00: want a time from 1970"),
        (("--from", "10000-01-01T00:00Z"), "time with a zone"),
    ],
)
def test_a_wrong_command_is_told_in_a_line(words: Sequence[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["audit", *words])
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]


def test_times_are_instants() -> None:
    assert command._instant("2026-12-18T15:00:59+09:00") == MINUTE == command._instant("2026-12-18T06:00Z")
    assert command._instant("1970-01-01T00:00Z") == 0
    assert audit.minute_text(command._instant("9999-12-30T23:59Z")) == "9999-12-30T23:59Z"


def test_nobody_there_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gateway.toml").write_text(f'[process]\ndata_dir = "{tmp_path}"\n[deliver]\nbootstrap = "127.0.0.1:1"\n')
    assert main(["--config", str(tmp_path / "gateway.toml"), "audit", "--from", "2026-01-01T00:00Z"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sluicegate: kafka 127.0.0.1:1: audit.v1: ")
