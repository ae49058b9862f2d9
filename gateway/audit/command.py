"""`sluicegate audit --from … [--to …]`: what was acknowledged against what is there, to the unit.

Decided here: in which order is looked, what is counted for whom, and how it reads.  Not decided here: what follows for
one minute (core/reckoning.py).  It only reads, and a gateway may run meanwhile.

    1  the lines of the audit        those that still wait on this machine's disk, then Kafka's: it is the way a line goes.  All that they
                                     count was durable by then, and is to be found
    2  this machine's spools, then rejected/
    3  the two topics                what has left a spool since 2 is here: Kafka is asked last, and read to its end

A record belongs to the worker that its headers name and to the minute of its `received_us`, also where it was
replayed hours later or by another worker.  One request's record is one, however often it is stored: what is stored
again is a duplicate.  An id that two requests brought is two, as it was acknowledged twice.

Not found, and acknowledged at another data directory than ours: it may wait in the spool there, so it is not called
missing but `elsewhere`, unless --everywhere says that these spools are empty or gone.  A worker has one data directory all its
life, so one line with our name is enough: its first ones may have a drawn name, where the disk was slow to say the real one.

A part that is not there, for the numbers of a worker's parts grow by one, and events that had no sheet make their minute
unaudited; its other parts are judged all the same.

It takes some 30 bytes of memory for each record of the range, and up to 10 kB for each minute of each worker.  Exit codes: 0 nothing is missing, 1 Kafka or the disk cannot
be read, 2 an argument or a key is wrong, 3 with --strict: nothing is missing, but not everything could be judged,
4 something is missing.
"""

import argparse
import struct
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from gateway import keys
from gateway.audit.files import DIRECTORY, home_of, waiting_lines
from gateway.audit.stored import Log
from gateway.clock import Clock
from gateway.config import Config
from gateway.core import audit
from gateway.core.audit import Cells
from gateway.core.heard import Heard
from gateway.core.reckoning import Judged, Place, judge, together
from gateway.core.recordbatch import headers_of
from gateway.disk import Disk
from gateway.errors import BrokerAway
from gateway.spool.files import SpoolFiles
from gateway.spool.key import known_secrets

DONE, FAILED, USAGE, UNJUDGED, MISSING = range(5)
ANSWERS: Final = (DONE, UNJUDGED, MISSING)  # codes that come with the whole answer
_QUESTION_S: Final = 20.0
_SHOWN_MAX: Final = 1_000  # of missing ids, and of minutes
_BEFORE: Final = 5  # minutes: who is heard of in these and fell silent may have lived on; lines may be lost for so long before a power cut
_BEHIND: Final = 2  # minutes: a part of the range's last one that is lost is noticed by the one that follows it
_DRAIN_MINUTES: Final = 2  # within so many a worker ends whose supervisor has
_DUE_S: Final = 60.0  # lines are posted within so long of their minute's last answer
_ELEMENT: Final = struct.Struct(">16sQ")  # id, received_us; by worker, minute and place
_MINUTE_US: Final = audit.MINUTE_MS * 1000
_INSTANTS: Final = range(audit.minute_of("9999-12-31T00:00Z"))  # that Kafka has records of, and that have a name
_NOTHING: Final = (bytearray(), bytearray(), bytearray())


class Key(NamedTuple):
    """Whose minute."""

    worker: str
    minute: int


class Part(NamedTuple):
    """A line, as small as it was posted: a thousand workers' hours are in memory at once."""

    cells: str
    is_torn: bool


class Outcome(NamedTuple):
    """What to print, and the exit code."""

    code: int
    text: str


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Describe the command to the parser of the command line."""
    command = commands.add_parser("audit", parents=[common], help="prove that what was acknowledged is there")
    command.add_argument(
        "--from", dest="since", type=_instant, required=True, metavar="TIME", help="with its zone: 2026-12-18T06:00+09:00; its minute and later ones"
    )
    command.add_argument(
        "--to", dest="until", type=_instant, metavar="TIME", help="its minute is not looked at any more; else until the lines that are due by now"
    )
    command.add_argument("--everywhere", action="store_true", help="count as missing what may wait in the spool of another machine, too")
    command.add_argument("--strict", action="store_true", help="exit 3 where not everything could be judged")


def _instant(text: str) -> int:
    """The minute since the epoch.  Raises ValueError and ArgumentTypeError, which argparse tells."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)
    minute = int(instant.timestamp() // 60)
    if minute not in _INSTANTS:  # in UTC: a zone may take the first and last day of the calendar out of it
        raise argparse.ArgumentTypeError(f"{text}: want a time from 1970-01-01T00:00Z on, before 9999-12-31T00:00Z")
    return minute


# argparse names a type by this in its complaint.
_instant.__name__ = "time with a zone, such as 2026-12-18T06:00+09:00,"


async def run(config: Config, arguments: argparse.Namespace, disk: Disk, clock: Clock, log: Log | None = None) -> Outcome:
    """One command, from arguments to what is printed.

    Args: log: None: the real Kafka of the settings.

    Raises:
        ConfigError: the keys file or a spool's key is wrong.
    """
    due = int(clock.now_us() / 1e6 - config.deliver.timeout_ms / 1000 - _DUE_S) // 60
    # Minutes that have not begun are nobody's: they are not looked at, whatever is asked for.
    until = due if arguments.until is None else min(arguments.until, clock.now_us() // _MINUTE_US + 1)
    if until <= arguments.since:
        return Outcome(USAGE, "audit: want --to later than --from, or a minute that is over for long enough")
    search = Search(config, disk, log or Log(config.deliver.bootstrap, _QUESTION_S), range(arguments.since, until))
    try:
        await search.run()
    except BrokerAway as exc:
        return Outcome(FAILED, f"kafka {config.deliver.bootstrap}: {exc}: is it up, and does {config.deliver.audit_topic} exist?")
    except OSError as exc:
        return Outcome(FAILED, f"{exc.filename or config.process.data_dir}: {exc.strerror}")
    return _reckoned(search, is_everywhere=arguments.everywhere, is_strict=arguments.strict)


class Search:
    """All that is known of some minutes."""

    def __init__(self, config: Config, disk: Disk, log: Log, minutes: range) -> None:
        self._config = config
        self._disk = disk
        self._log = log
        self.minutes = minutes
        self.lines: dict[Key, dict[int, Part]] = {}
        self.lives: dict[str, Heard] = {}
        self.uncounted: set[Key] = set()  # that say of themselves that they are not whole
        self.bad_lines = 0
        self.bad_files: list[str] = []  # of lines that wait, and cannot be read
        self.elements: dict[Key, tuple[bytearray, bytearray, bytearray]] = {}  # by place
        self.foreign = 0  # records in Kafka that no gateway of ours wrote
        self.home = ""
        self.cut: set[str] = set()
        self.unreadable = 0

    async def run(self) -> None:
        """Look everywhere.  Raises BrokerAway, ConfigError, OSError."""
        deliver, data_dir = self._config.deliver, Path(self._config.process.data_dir)
        log = self._log
        from_ms = self.minutes.start * audit.MINUTE_MS
        waiting = await self._disk.run(lambda: waiting_lines(self._disk, data_dir))
        self.bad_files = waiting.unreadable
        for value in waiting.lines:
            self._heard(value)
        async for batch in log.read(deliver.audit_topic, from_ms - _BEFORE * audit.MINUTE_MS):
            for stored in batch:
                self._heard(stored.value)
        log.cut.clear()  # an audit's own topic may well have been cut: minutes without lines say so
        self.home = await self._disk.run(lambda: home_of(self._disk, data_dir))
        await self._disk.run(lambda: self._look_at_disk(data_dir))
        for topic in (deliver.syncs_topic, deliver.signups_topic):
            async for batch in log.read(topic, from_ms):
                for one in batch:
                    # Kafka knows headers without a value; no gateway writes one.
                    headers = {name: value for name, value in one.headers if value is not None}
                    self.foreign += not self._found(headers, Place.KAFKA)
        self.cut = log.cut

    def _heard(self, value: bytes) -> None:
        minute = audit.read(value)
        if minute is None:
            self.bad_lines += 1
            return
        line, key = minute.line, Key(minute.line.worker, minute.minute)
        if key.minute in range(self.minutes.start - _BEFORE, self.minutes.stop + _BEHIND):
            life = self.lives.get(key.worker)
            if life is None:
                life = self.lives[key.worker] = Heard(line, minute.since)
            life.heard(line, key.minute)
        if key.minute in self.minutes:
            self.lines.setdefault(key, {})[line.part] = Part(line.cells, line.is_torn)
            if line.uncounted:
                self.uncounted.add(key)

    def _look_at_disk(self, data_dir: Path) -> None:
        path = self._config.spool_path
        if not self._disk.names(path):
            return
        named = keys.load(self._config.keys_path).spool if self._config.keys_path.exists() else ()
        files = SpoolFiles(self._disk, path, known_secrets(named, self._disk, data_dir))
        for held in files.read():
            for record in held.records:
                self._found(headers_of(record.body), Place.REJECTED if held.is_rejected else Place.SPOOL)
        self.unreadable = files.unreadable

    def _found(self, headers: Mapping[str, bytes], place: int) -> bool:
        """Keep what belongs to the range; False: it is no record of a gateway."""
        try:
            worker, received_us = headers["worker"].decode(), int(headers["received_us"])
            element = _ELEMENT.pack(audit.id_of(headers["ce_id"].decode()).to_bytes(16, "big"), received_us)
        except (KeyError, ValueError, struct.error):  # UnicodeDecodeError is one
            return False
        minute = received_us // _MINUTE_US
        if minute in self.minutes:
            key = Key(worker, minute)
            places = self.elements.get(key)
            if places is None:
                places = self.elements[key] = bytearray(), bytearray(), bytearray()
            places[place].extend(element)
        return True


class _Found(NamedTuple):
    """One minute's records."""

    ids: list[tuple[int, int]]  # (id, place) of each request's
    duplicates: int  # that Kafka has beyond those


def _records(places: Iterable[bytearray]) -> _Found:
    best: dict[tuple[bytes, int], int] = {}
    stored = 0
    for place, elements in enumerate(places):
        for element in _ELEMENT.iter_unpack(elements):
            best.setdefault(element, place)
            stored += place == Place.KAFKA
    ids = [(int.from_bytes(event_id, "big"), place) for (event_id, _), place in best.items()]
    return _Found(ids, stored - sum(place == Place.KAFKA for _, place in ids))


def _reckoned(search: Search, *, is_everywhere: bool, is_strict: bool) -> Outcome:
    judged: list[tuple[Key, str, Judged]] = []
    duplicates = 0
    for key, parts in search.lines.items():
        found = _records(search.elements.get(key, _NOTHING))
        cells: Cells = {}
        for part in parts.values():
            cells = audit.added(cells, audit.unpacked(part.cells))
        one = judge(cells, found.ids, is_torn=any(part.is_torn for part in parts.values()))
        life = search.lives[key.worker]
        judged.append((key, "" if is_everywhere or (search.home and search.home in life.homes) else life.machine, one))
        duplicates += found.duplicates
    unaudited = _unaudited(search)
    return _told(search, judged, duplicates, unaudited, is_strict=is_strict)


def _unaudited(search: Search) -> list[Key]:
    """Minutes that should have a line and have none, of which there are records and no line, and whose lines are not whole.

    Who fell silent without a last line has ended at the latest when somebody else had started in the same home: one
    supervisor posts for all, so it was another one by then.
    """
    wanted = {key for key in search.elements if key not in search.lines} | search.uncounted
    for worker, life in search.lives.items():
        newest = max(life.minutes)
        starts = [other.since for other in search.lives.values() if other is not life and other.homes & life.homes and other.since > newest]
        end = newest + 1 if life.has_last else min(start + _DRAIN_MINUTES for start in [*starts, search.minutes.stop])
        expected = range(max(life.since, search.minutes.start), min(end, search.minutes.stop))
        wanted |= {Key(worker, minute) for minute in expected if Key(worker, minute) not in search.lines}
        wanted |= {Key(worker, minute) for minute in life.gaps() if minute in search.minutes}
    return sorted(wanted)


def _told(search: Search, judged: list[tuple[Key, str, Judged]], duplicates: int, unaudited: list[Key], *, is_strict: bool) -> Outcome:
    ours = together(one for _, machine, one in judged if not machine)
    others = together(one for _, machine, one in judged if machine)
    sums = together((ours, others))
    undetermined = sums.undetermined
    lines = [
        f"from: {audit.minute_text(search.minutes.start)}",
        f"to: {audit.minute_text(search.minutes.stop)}",
        f"acknowledged: {sums.acknowledged}",
        f"found: {sums.found}",
        f"still in spool: {sums.spooled}",
        f"rejected: {sums.rejected}",
        f"missing: {ours.missing}",
        f"elsewhere: {others.missing}",
        f"undetermined: {undetermined}",
        f"duplicates: {duplicates}",
        f"found, not acknowledged: {sums.unacknowledged}",
        f"unaudited minutes: {len(unaudited)}",
    ]
    lines += list(_details(search, judged, unaudited))
    is_judged = not (undetermined or others.missing or unaudited or search.bad_lines or search.bad_files or search.unreadable)
    code = MISSING if ours.missing else UNJUDGED if is_strict and not is_judged else DONE
    return Outcome(code, "\n".join(lines))


def _details(search: Search, judged: list[tuple[Key, str, Judged]], unaudited: list[Key]) -> Iterable[str]:
    """One line for each thing that somebody may look for."""
    shown: list[str] = []
    for key, machine, one in sorted(judged):
        where = f"worker {key.worker} {audit.minute_text(key.minute)}"
        kind = f"elsewhere ({machine})" if machine else "missing"
        shown += [f"{kind} {audit.text_of(name)} {where}" for name in one.names]
        if unnamed := one.missing - len(one.names):
            shown.append(f"{kind} {unnamed} at least, without names, {where}")
        if one.undetermined:
            shown.append(f"undetermined {one.undetermined} {where}: more was found than acknowledged, in too many ways")
    shown += [f"unaudited {audit.minute_text(key.minute)} worker {key.worker}: {_stored(search, key)} records found" for key in unaudited]
    yield from shown[:_SHOWN_MAX]
    if len(shown) > _SHOWN_MAX:
        yield f"… and {len(shown) - _SHOWN_MAX} lines more"
    for topic in sorted(search.cut):
        yield f"note: {topic} begins within this time or later: older records may have been deleted"
    for name in search.bad_files[:_SHOWN_MAX]:
        yield f"note: {DIRECTORY}/{name} cannot be read: lines in it are not known"
    for count, what in (
        (search.foreign, "records without a gateway's headers"),
        (search.bad_lines, f"lines of {search._config.deliver.audit_topic} that contradict themselves"),  # noqa: SLF001 - its own
        (search.unreadable, "frames of the spool that cannot be read"),
    ):
        if count:
            yield f"note: {count} {what}"


def _stored(search: Search, key: Key) -> int:
    return len(_records(search.elements.get(key, _NOTHING)).ids)
