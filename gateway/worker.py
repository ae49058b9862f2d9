"""One worker's composition root: `build` connects the parts, `serve` orders start and stop.

Decided here: the order.  Start: open the spool, contact Kafka, then accept.  A spool
whose recovery moves on is waited for; one whose disk hangs is not, and joins when it can,
for Kafka may work.  What an
earlier life left in the spool is replayed beside live traffic, and order holds: until
nothing of a partition waits, what is new for it goes behind, through the spool.  Stop: say
`Connection: close` for `drain_lag_s`, accept what has connected by then, finish
it, flush to Kafka and the rest to the spool, exit 0.  The producer and the spool close last,
after every answer that needs them.

    0 stopped ─▶ 1 starting ─▶ 2 serving ─▶ 3 draining ─▶ exit
"""

import asyncio
import secrets
import signal
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from gateway import control, logs, memory
from gateway.accept import Front
from gateway.admit import Admission
from gateway.audit.auditor import leave_lines
from gateway.audit.sheets import Sheets
from gateway.board import Board, Slot
from gateway.clock import SYSTEM, Clock, cpu_s
from gateway.config import LAST_REQUEST_S, Config, Room
from gateway.connection import PublicServer
from gateway.connections import Connections
from gateway.control import Acted, Adopt, Drain, Ready, Release, Reload, Setup, Unfit
from gateway.core.address import Proxies
from gateway.core.event import Forge
from gateway.deliver import Deliverer
from gateway.disk import Disk, RealDisk
from gateway.documents import Documents
from gateway.errors import ConfigError
from gateway.identity import Identity
from gateway.kafka import Broker, Kafka, key_hash
from gateway.keys import Keys
from gateway.limits import Limits
from gateway.listening import Listening
from gateway.reply import Replies
from gateway.room import WaitingRoom, files_in, office, store_of
from gateway.room_store import RoomStore
from gateway.spool.disk_spool import DiskSpool
from gateway.spool.gauges import SpoolGauges
from gateway.topicsfile import TopicsFile
from gateway.whereabouts import Whereabouts
from ratelimit.limiter import Limiter
from ratelimit.redis_store import RedisStore

STARTING: Final = 1
SERVING: Final = 2
DRAINING: Final = 3

_BEAT_S: Final = 0.5
_LAG_EVERY_S: Final = 0.1
_GLANCE_S: Final = 0.02
_DYING_S: Final = 5.0
_LIVES_MAX: Final = 8  # of one seat at a time: a supervisor that is killed again and again leaves so many workers that drain
_REDIS_GIVE_UP_S: Final = 1.0  # until a connection without an answer is closed: the next question needs one
_REDIS_GREETING_S: Final = 1.0


class World(NamedTuple):
    """What a test may replace."""

    clock: Clock
    broker: Broker
    store: RedisStore
    room: RoomStore | None = None
    disk: Disk | None = None  # None: no spool is kept


class Parts(NamedTuple):
    """The connected parts of one worker."""

    front: Front
    admission: Admission
    store: RedisStore
    limiter: Limiter
    limits: Limits
    identity: Identity
    deliverer: Deliverer
    documents: Documents
    connections: Connections
    room: WaitingRoom | None
    spool: DiskSpool | None
    spool_gauges: SpoolGauges
    topics_file: TopicsFile


def real_world(config: Config) -> World:
    """The system's clock, the real Kafka and the real Redis."""
    settings = config.deliver
    kafka = Kafka(
        settings.bootstrap,
        (settings.syncs_topic, settings.signups_topic),
        connect_timeout_s=settings.connect_timeout_ms / 1000,
        # Twice the time a batch may take: the watcher gives it up before the client does.
        request_timeout_s=settings.timeout_ms / 500,
        batch_bytes_max=settings.batch_bytes_max,
    )
    store = RedisStore(config.redis.url, prefix=config.limits.prefix, give_up_s=_REDIS_GIVE_UP_S)
    return World(SYSTEM, kafka, store, store_of(config), RealDisk() if config.spool.enabled else None)


def build(setup: Setup, world: World, board: Board) -> Parts:
    """Connect the parts of one worker; no I/O but the notices file.  Raises ConfigError."""
    config, slot = setup.config, board.slots[setup.index]
    name = secrets.token_hex(4)
    replies = Replies(name)
    spool = _spool(setup, world)
    sheets = Sheets(slot.sheet_words, name, world.clock.now_us())
    topics_file = TopicsFile(RealDisk(), Path(config.process.data_dir), setup.index)
    deliverer = Deliverer(config.deliver, world.broker, world.clock, slot, spool, topics_file.save, sheets.count)
    admission = Admission(config.deliver.in_flight_bytes_max, deliverer, world.clock, slot, setup.limits_secret)
    limiter = Limiter(
        world.store,
        worker=name,
        workers=config.worker_count,
        monotonic_s=world.clock.monotonic_s,
        decide_timeout_s=config.limits.decide_timeout_ms / 1000,
        memory_max=config.limits.memory_max,
    )
    limits = Limits(config.limits, setup.limits_secret, limiter, slot, has_passes=world.room is not None)
    room = _room(setup, world, slot, int(name, 16) / 2**32)
    identity = Identity(config.identity, setup.keys.tokens, key_hash, slot)
    documents = _documents(setup)
    front = Front(
        config.http,
        admission=admission,
        identity=identity,
        limits=limits,
        proxies=Proxies(config.http.trusted_proxies),
        deliverer=deliverer,
        forge=Forge(name),
        documents=documents,
        replies=replies,
        whereabouts=Whereabouts(setup.limits_secret, board.watermarks, {"syncs": config.deliver.syncs_topic, "signups": config.deliver.signups_topic}),
        clock=world.clock,
        slot=slot,
        room=room,
    )
    connections = Connections(config.http, replies, slot)
    spool_gauges = SpoolGauges(spool, config.spool.bytes_max, slot)
    return Parts(front, admission, world.store, limiter, limits, identity, deliverer, documents, connections, room, spool, spool_gauges, topics_file)


def _spool(setup: Setup, world: World) -> DiskSpool | None:
    """The spool of whoever sits at this index: a directory of its own, found again by the next who sits there.

    When a supervisor was killed, its worker drains while ours begins: then ours takes a directory that nobody sits at, and
    adopts the other one as soon as it is left.
    """
    config = setup.config
    if world.disk is None:
        return None
    directory, *spares = (config.spool_path / str(setup.index + life * config.worker_count) for life in range(_LIVES_MAX))
    return DiskSpool(*(config.spool, directory, setup.spool_secrets, world.clock, world.disk), reserved_for=config.deliver.signups_topic, spares=spares)


def inherited(names: Iterable[str], index: int, workers: int) -> list[str]:
    """The directories of this seat: of its own index, and of those that lives before it had, or seats that are no more."""
    return [name for name in sorted(names) if name.isdecimal() and int(name) % workers == index]


def _room(setup: Setup, world: World, slot: Slot, stagger: float) -> WaitingRoom | None:
    """The waiting room, where one is configured.  Raises ConfigError: the keys file has no good key for its tickets."""
    config = setup.config
    if world.room is None:
        return None
    files = files_in(Path(config.process.data_dir), config.room, setup.index)
    tickets = office(config.room, setup.keys, setup.limits_secret)
    return WaitingRoom(config.room, world.room, tickets, files, world.clock, slot, config.worker_count, stagger)


def _documents(setup: Setup) -> Documents:
    """As with topics: what is wrong stops the very first start; later it is said, and the path goes on."""
    notices = setup.config.notices
    try:
        return Documents(notices.file, notices.max_age_s)
    except ConfigError as exc:
        if setup.is_first:
            raise
        logs.error("no notices are served", reason=str(exc))
        return Documents("", notices.max_age_s)


class Worker:
    """One process that serves requests."""

    def __init__(self, setup: Setup, parts: Parts, clock: Clock, slot: Slot) -> None:
        self._config = setup.config
        self._limits_secret = setup.limits_secret
        self._index = setup.index
        self._parts = parts
        self._clock = clock
        self._slot = slot
        self._state = slot.gauge("sluicegate_worker_state")
        self._heartbeat = slot.gauge("sluicegate_heartbeat_seconds")
        self._lag = slot.gauge("sluicegate_loop_lag_seconds")
        self._cpu = slot.gauge("sluicegate_worker_cpu_ratio")
        self._memory = slot.gauge("sluicegate_worker_memory_bytes")
        self._resident = memory.Resident()
        self._server = PublicServer(parts.front, parts.connections, setup.config.http)
        self._listening = Listening(self._server, setup.listener_fds, setup.config.http.backlog)
        self._ending = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    async def serve(self, setup: Setup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Start, serve until told to drain or the supervisor is gone, drain."""
        self._state.set(STARTING)
        beat = asyncio.create_task(self._beat())
        room = self._parts.room
        self._loops = [asyncio.create_task(loop()) for loop in (self._feel_lag, self._parts.limiter.run, *((room.run,) if room else ()))]
        try:
            await self._open_spool()
            known = await self._parts.topics_file.load()
            await asyncio.gather(self._parts.deliverer.start(is_strict=setup.is_first, known=known), self._greet_redis())
            self._listening.adopt(self._index)
        except BaseException:
            for task in (beat, *self._loops):
                task.cancel()
            await self._parts.deliverer.stop()
            await self._close_spool()
            raise
        memory.calm()
        self._state.set(SERVING)
        control.send(writer, Ready())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._ending.set)
        obeying = asyncio.create_task(self._obey(reader))
        ended = asyncio.create_task(self._ending.wait())
        await asyncio.wait([ended, beat, obeying, *self._loops], return_when=asyncio.FIRST_COMPLETED)
        for task in (beat, obeying, *self._loops):
            if task.done():
                task.result()  # a loop that must not end died: so do we, loudly
        await self._drain()
        if obeying.done():
            self._leave_lines()
        for task in (beat, obeying):
            task.cancel()

    async def _obey(self, reader: asyncio.StreamReader) -> None:
        async for message in control.for_worker(reader):
            match message:
                case Adopt(listener):
                    await self._adopt(listener)
                case Release(listener):
                    self._listening.release(listener)
                case Reload(keys, limits, notices_file, room):
                    self._parts.identity.reload(keys.tokens)
                    self._reload_room(keys, room)
                    self._parts.limits.reload(limits)
                    self._reload_notices(notices_file)
                case Acted(acts) if self._parts.room is not None:
                    self._parts.room.said(acts)
                case Acted():
                    logs.error("no room to act on")
                case Drain():
                    self._ending.set()
                case Setup():
                    logs.error("a second setup is ignored")
        # The supervisor is gone, and with it whoever bounds the drain.  So the kernel does: SIGALRM, which nobody
        # here handles, ends this process whatever its event loop is doing by then.
        signal.setitimer(signal.ITIMER_REAL, self._config.process.drain_s)
        self._ending.set()

    async def _adopt(self, listener: int) -> None:
        try:
            self._listening.adopt(listener)
        except OSError as exc:
            # As at the limit of open files: dying of it would orphan one listener more.
            logs.error("a listener cannot be taken over", listener=listener, reason=exc.strerror)

    def _reload_room(self, keys: Keys, settings: Room) -> None:
        room = self._parts.room
        if room is None:
            return
        room.reload(settings)
        try:
            room.office = office(settings, keys, self._limits_secret)
        except ConfigError as exc:
            logs.error("ticket keys stay as they were", reason=str(exc))

    def _reload_notices(self, path: str) -> None:
        try:
            self._parts.documents.reload(path)
        except ConfigError as exc:
            logs.error("notices stay as they were", reason=str(exc))

    async def _beat(self) -> None:
        """Twice a second: the heartbeat, the loop's lag, what it costs, the sweeps; and the end of all if a loop died."""
        loop = asyncio.get_running_loop()
        while True:
            self._heartbeat.set(self._clock.monotonic_s())
            began_s, used_s = loop.time(), cpu_s()
            await asyncio.sleep(_BEAT_S)
            now_s = loop.time()
            self._lag.set(max(0.0, now_s - began_s - _BEAT_S))
            self._cpu.set((cpu_s() - used_s) / (now_s - began_s))
            self._memory.set(self._resident.bytes())
            self._parts.connections.sweep(now_s)
            self._parts.admission.show()
            self._parts.limits.show()
            self._parts.spool_gauges.show()
            self._show_watermarks()
            for part in (self._parts.deliverer, self._parts.limiter, *((self._parts.spool,) if self._parts.spool else ())):
                if (exc := part.failed()) is not None:
                    raise exc

    async def _open_spool(self) -> None:
        """Find what earlier lives left, here and where nobody sits any more.  Raises ConfigError: its key is missing."""
        spool, config = self._parts.spool, self._config
        if spool is None:
            return
        await spool.open()
        spool.adopt_from(config.spool_path, lambda names: inherited(names, self._index, config.worker_count))
        self._show_watermarks()  # until now the last life's stand there, and stay where the disk does not say better

    def _show_watermarks(self) -> None:
        if self._parts.spool is not None and (known := self._parts.spool.watermarks()):
            self._slot.watermarks.put(known)

    async def _close_spool(self) -> None:
        if self._parts.spool is not None:
            await self._parts.spool.close()

    async def _greet_redis(self) -> None:
        """First contact before the first request, which else would wait for the handshake; and what to know of it."""
        greeting = asyncio.create_task(self._parts.store.facts())
        greeting.add_done_callback(lambda done: done.cancelled() or done.exception())  # looked at, however late
        await asyncio.wait([greeting], timeout=_REDIS_GREETING_S)
        if not greeting.done() or greeting.exception() is not None:
            logs.warning("redis is away at start", consequence="limits are decided by each worker's share")
            return
        facts = greeting.result()
        logs.info("redis", server=facts.server, maxmemory_policy=facts.maxmemory_policy, appending=facts.is_appending, save=facts.save)
        if facts.maxmemory_bytes and facts.maxmemory_policy != "noeviction":
            logs.warning("redis may drop buckets when it is full, and then admits more", maxmemory_policy=facts.maxmemory_policy)

    async def _feel_lag(self) -> None:
        """Ten times a second: how late the event loop is."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self._parts.admission.lagged(max(0.0, loop.time() - due_s))

    async def _drain(self) -> None:
        self._state.set(DRAINING)
        logs.info("draining", lag_s=self._config.process.drain_lag_s)
        self._parts.front.closes_connections = True
        await asyncio.sleep(self._config.process.drain_lag_s)
        self._parts.admission.is_draining = True
        await self._listening.stop()
        await self._last_requests()
        for connection in self._server.ours():
            # A closed one hears nothing more, so those whose body still arrives are left: each closes after its answer.
            if not connection.is_busy:
                connection.close()
        # The supervisor's drain_s bounds this: a request itself is bounded by its body's and delivery's time.
        while any(connection.is_busy for connection in self._server.ours()):
            await asyncio.sleep(_GLANCE_S)
        await self._server.shutdown(1.0)
        await self._parts.deliverer.flush()
        await self._parts.deliverer.stop()
        await self._close_spool()
        if self._parts.room is not None:
            await self._parts.room.close()  # before its loop is cancelled: half a tick would be lost
        for loop in self._loops:
            loop.cancel()
        self._parts.limiter.close()
        await self._parts.store.close()
        logs.info("drained")

    def _leave_lines(self) -> None:
        """The supervisor, which posts what was acknowledged, is gone: so that is left on disk."""
        disk = RealDisk()
        try:
            leave_lines(disk, Path(self._config.process.data_dir), self._slot, socket.gethostname(), self._clock.now_us(), secrets.token_hex(8))
        except OSError as exc:
            logs.error("the last minutes cannot be left for the audit", reason=exc.strerror)
        finally:
            disk.close()

    async def _last_requests(self) -> None:
        """Wait a moment for connections that have not sent their one request yet."""
        until_s = self._clock.monotonic_s() + LAST_REQUEST_S
        while self._clock.monotonic_s() < until_s and any(connection.is_due for connection in self._server.ours()):
            await asyncio.sleep(_GLANCE_S)


async def run(control_fd: int) -> int:
    """Be one worker until the end: returns the exit code, 0 after a drain, 2 where the settings cannot work."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=control_fd), limit=control.LINE_BYTES_MAX)
    setup = await anext(control.for_worker(reader))
    assert isinstance(setup, Setup), type(setup)
    logs.configure(f"worker-{setup.index}")
    board = Board(setup.board_fd, setup.config.worker_count)
    slot = board.slots[setup.index]
    slot.zero_gauges()
    world = real_world(setup.config)
    try:
        worker = Worker(setup, build(setup, world, board), world.clock, slot)
        await worker.serve(setup, reader, writer)
    except ConfigError as exc:
        control.send(writer, Unfit(str(exc)))
        await writer.drain()
        return 2
    except Exception as exc:  # noqa: BLE001 - the last door: a traceback of Python's own is no log line and may quote a payload
        logs.error("the worker dies of an error that is ours", exc=exc)
        # A task that does not hear its cancellation (the Kafka client has such) would keep this process, and with it its
        # listener and its spool, from whoever comes next.  So the kernel ends it, as it bounds a drain without supervisor.
        signal.setitimer(signal.ITIMER_REAL, _DYING_S)
        return 1
    return 0
