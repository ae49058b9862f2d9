"""Start, watch, restart and drain the workers; serve the operators' port.

Decided here: which process runs, who accepts from which listener, when a
worker is given up.  The supervisor opens one SO_REUSEPORT listener per worker
and keeps it open, so that connections which wait in the queue of a worker that
died are served by its successor, or, if that takes longer than a second, by
one that lives.

    worker dies       → restarted at once, then after 0.5, 1, 2, 5 s if it keeps dying
    cannot be started → no process or descriptor to be had: logged, tried again as above; the others serve on
    worker silent     → no heartbeat for 2 s: another accepts for it until it beats again
    worker hangs      → no heartbeat for wedged_s: SIGKILL, then as above
    all stood still   → the machine was frozen: everybody's time starts anew
    worker unfit      → at the very first start: everything ends with exit code 2
    SIGTERM, SIGINT   → drain; a second one, or drain_s, ends it at once with exit code 1
    SIGHUP            → keys, limits and notices are read again

Where a waiting room is named, the pace of its door is kept here too (pacer.py), beside the workers and not in
them: one reading of Kafka a machine, and a worker that dies takes none of it along.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from gateway import config as configuration
from gateway import control, identity, keys, logs
from gateway.acts import Audit
from gateway.audit.auditor import Auditor
from gateway.board import Board
from gateway.clock import SYSTEM
from gateway.config import Config
from gateway.control import Acted, Adopt, Drain, Ready, Release, Reload, Setup, Unfit
from gateway.core.sign import Acts
from gateway.disk import RealDisk
from gateway.documents import Documents
from gateway.errors import ConfigError
from gateway.kafka import Kafka
from gateway.keys import Keys
from gateway.lag import LagReader
from gateway.listeners import Listeners
from gateway.ops.access import Access, check_bind, is_loopback
from gateway.ops.fleet import Fleet, RedisTown, machine_name
from gateway.ops.readings import STATES, Readiness, RoomReading, Seating
from gateway.ops.rooms import RoomCalls
from gateway.ops.screen import Screen
from gateway.ops.server import OpsPort
from gateway.pacer import Pacer
from gateway.probes import Asker, KafkaProbe, RedisProbe
from gateway.room import MARGIN, files_in, office, store_of
from gateway.spool.key import secrets_of

WORKER: Final = ("-m", "gateway", "worker")  # and the number of its end of the control socket
_BACKOFF_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0)
_SERVED_S: Final = 1.0  # a worker that served so long starts its successor without waiting: it is no loop of failing starts
_ORPHANED_S: Final = 1.0  # a listener without its worker for so long goes to a living one
_SILENT_S: Final = 2.0  # four beats: a worker that is only busy misses one or two
# Until its first beat a worker imports its code: seconds, where all cores start workers at once.
_FIRST_BEAT_S: Final = 30.0
_FROZEN_S: Final = 1.0  # who sleeps so much longer than asked was stopped, and the workers with it
_WATCH_S: Final = 0.25


def fruitless_after(fruitless: int, ready_s: float | None, now_s: float) -> int:
    """How many lives in a row have ended without service, with the one that ends now.

    Args: ready_s: since when it served; None: it never did.
    """
    return 0 if ready_s is not None and now_s - ready_s >= _SERVED_S else fruitless + 1


def backoff_s(fruitless: int) -> float:
    """How long to wait with the next start.  Killed again and again while it serves is no reason to wait: nobody would serve."""
    return _BACKOFF_S[min(fruitless, len(_BACKOFF_S) - 1)]


class Seat:
    """One worker's place: its number, its listener, and whoever sits there now."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: asyncio.subprocess.Process | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.is_ready = False
        self.left_s: float | None = None  # since when nobody accepts from this listener
        self.kept_by: int | None = None  # the seat that accepts from it meanwhile
        self.started_s = 0.0
        self.starts = 0
        self.ready_s: float | None = None  # since when the one who sits here serves
        self.fruitless = 0  # lives that ended before there was service, one after the other
        self.ended_s: float | None = None  # when the last one ended here, unasked

    def tell(self, message: control.ToWorker) -> None:
        """Queue a message to the worker that sits here, if one does."""
        if self.writer is not None and not self.writer.is_closing():
            control.send(self.writer, message)

    def kill(self) -> None:
        """End whoever sits here at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                self.process.kill()


class Supervisor:
    """The process an operator starts and stops."""

    def __init__(self, config: Config, secrets: Keys, config_path: Path | None) -> None:
        self._config = config
        self._keys = secrets
        self._limits_secret = secrets.limits_secret
        self._spool_secrets = _spool_secrets(config, secrets)
        self._config_path = config_path
        self._clock = SYSTEM
        self._board = Board.create(config.worker_count)
        self._starts = self._board.supervisor.counter("sluicegate_worker_starts_total")
        self._seats = [Seat(index) for index in range(config.worker_count)]
        self._pacer = _pacer(config, self._board)
        self._auditor = _auditor(config, self._board)
        kafka = Asker(KafkaProbe(config.deliver.bootstrap, SYSTEM), SYSTEM)
        redis = Asker(RedisProbe(config.redis.url, SYSTEM), SYSTEM)
        self._fleet = Fleet(RedisTown(config.redis.url, config.limits.prefix), machine_name(0), self._board)
        self._screen = Screen(self._board, self.readiness, self._room, kafka, redis, self._fleet, SYSTEM)
        if self._pacer is not None:
            self._pacer.on_act = self._acted  # past the store, which may be away
            self._pacer.on_sign = self._screen.has_news
        self._listeners = Listeners(config.http.bind, config.worker_count, config.http.backlog)
        self._signals = 0
        self._stopping = asyncio.Event()
        self._stopping_now = asyncio.Event()
        self._unfit: str | None = None
        self._is_announced = False
        self._awake_s = 0.0  # since when this process runs without having been frozen

    async def run(self) -> int:
        """Serve until told to stop: returns the exit code.

        Raises:
            ConfigError: a port is taken or open to others without a token, or the first workers cannot work with these settings.
        """
        check_bind(self._config.ops.bind, self._keys.ops)
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self._told_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        ops = self._ops_port()
        ops_url = await self._open_ops(ops)
        self._listeners.listen()
        sitting = [asyncio.create_task(self._keep_seat(seat)) for seat in self._seats]
        watching = [asyncio.create_task(self._watch(ops_url)), asyncio.create_task(self._screen.run())]
        watching += [asyncio.create_task(self._pacer.run())] if self._pacer else []
        watching += [asyncio.create_task(self._auditor.run())]
        stopping = asyncio.create_task(_until(self._stopping))
        try:
            loops = (*watching, *sitting)
            await asyncio.wait([stopping, *loops], return_when=asyncio.FIRST_COMPLETED)
            for task in loops:
                if task.done():
                    task.result()  # a loop that must not end died: say so, loudly
            is_clean = await self._drain(sitting)
        finally:
            for task in (*watching, stopping, *sitting):
                task.cancel()
            self._kill_all()
            await asyncio.gather(*watching, stopping, *sitting, return_exceptions=True)
            if self._pacer is not None:
                await self._pacer.close()
            await self._auditor.close()
            await self._screen.close()
            await ops.close()
            self._listeners.close()
        if self._unfit is not None:
            raise ConfigError(self._unfit)
        return 0 if is_clean else 1

    # What operators see

    def readiness(self) -> Readiness:
        """Whether this process can answer now, and why not."""
        now_s = self._clock.monotonic_s()
        workers = [self._seating(seat, now_s) for seat in self._seats]
        if self._stopping.is_set():
            why = "draining"
        elif not self._is_announced:
            why = "starting"
        else:
            why = "" if any(one.is_ready and one.state != "wedged" for one in workers) else "no worker answers"
        return Readiness(why, workers)

    def _seating(self, seat: Seat, now_s: float) -> Seating:
        state = STATES[int(self._board.slots[seat.index].gauge("sluicegate_worker_state").value) if seat.process else 0]
        is_wedged = seat.is_ready and self._silent_s(seat, now_s) > self._config.process.wedged_s / 2
        ended_s = None if seat.ended_s is None else now_s - seat.ended_s
        return Seating(seat.index, "wedged" if is_wedged else state, seat.starts, seat.is_ready, self._silent_s(seat, now_s), ended_s)

    def _room(self) -> RoomReading | None:
        return None if self._pacer is None else RoomReading(self._config.room, self._pacer.state)

    def _ops_port(self) -> OpsPort:
        access = Access(lambda: self._keys.ops, self._clock, is_open=is_loopback(self._config.ops.bind))
        rooms = RoomCalls(lambda: self._config.room, self._pacer, access, self._screen, self._board.supervisor)
        return OpsPort(self._board, self._screen, rooms, access, Audit(Path(self._config.process.data_dir)))

    async def _open_ops(self, ops: OpsPort) -> str:
        host, _, port = self._config.ops.bind.rpartition(":")
        try:
            bound = await ops.open(host.strip("[]"), int(port))
        except OSError as exc:
            # Not exc.strerror: the event loop puts a sentence of its own there.
            raise ConfigError(f"ops.bind {self._config.ops.bind}: {os.strerror(exc.errno) if exc.errno else exc}") from exc
        self._fleet.name = machine_name(bound)
        return f"http://{host}:{bound}"

    def _announce(self, ops_url: str) -> None:
        self._is_announced = True
        self._screen.look()  # who hears of it and looks at once must not read that it starts
        deliver = self._config.deliver
        redis_url = configuration.mask_url(self._config.redis.url)
        print(f"READY public={self._listeners.url} ops={ops_url} kafka={deliver.bootstrap} redis={redis_url}", flush=True)  # noqa: T201 - promised on standard output

    # Workers

    async def _keep_seat(self, seat: Seat) -> None:
        """Fill one seat, again and again, until all is stopping."""
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff_s(seat.fruitless)):
                    await self._stopping.wait()
                    return
            seat.started_s = self._clock.monotonic_s()
            try:
                code = await self._sit(seat)
            except OSError as exc:
                # EAGAIN, ENOMEM, EMFILE: one seat stays empty for now.  Raising would take the healthy workers down.
                code = None
                logs.error("a worker cannot be started", worker=seat.index, reason=exc.strerror or str(exc))
            seat.fruitless = fruitless_after(seat.fruitless, seat.ready_s, self._clock.monotonic_s())
            seat.process, seat.writer, seat.is_ready, seat.ready_s = None, None, False, None
            self._board.slots[seat.index].zero_gauges()
            self._auditor.worker_ended(seat.index)
            for orphan in self._seats:
                if orphan.kept_by == seat.index:
                    orphan.kept_by = None  # its successor does not know of it
            if self._stopping.is_set():
                return
            seat.left_s = seat.ended_s = self._clock.monotonic_s()
            if code is not None:
                logs.warning("a worker ended", worker=seat.index, code=code)
                self._screen.happened("worker-ended", worker=seat.index, code=code)

    async def _sit(self, seat: Seat) -> int:
        """One worker's life, from start to exit code.  Raises OSError where none can be started."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                seat.process = await self._spawn(theirs)
            reader, seat.writer = await asyncio.open_connection(sock=ours, limit=control.LINE_BYTES_MAX)
        except BaseException:
            ours.close()  # a process that did start ends by itself: to it the supervisor is gone
            raise
        self._starts.add()
        seat.starts += 1
        keys, is_first = self._keys.of_workers, not self._is_announced
        seat.tell(Setup(seat.index, self._config, keys, self._limits_secret, self._spool_secrets, self._board.fd, self._listeners.fds, is_first))
        with contextlib.suppress(ConnectionError):
            async for message in control.for_supervisor(reader):
                self._heard(seat, message)
        seat.writer.close()
        return await seat.process.wait()

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, *WORKER, str(theirs.fileno())),
            pass_fds=(theirs.fileno(), self._board.fd, *self._listeners.fds),
            stdin=asyncio.subprocess.DEVNULL,
            # A terminal sends Ctrl-C to its whole process group: that is ours to hear, and ours to pass on.
            start_new_session=True,
        )

    def _heard(self, seat: Seat, message: control.ToSupervisor) -> None:
        match message:
            case Ready():
                seat.is_ready, seat.ready_s = True, self._clock.monotonic_s()
                self._screen.happened("worker-started", worker=seat.index)
                if self._pacer is not None:
                    seat.tell(Acted(self._pacer.acts))
                seat.left_s = None
                self._give_back(seat)
                if self._stopping.is_set():
                    seat.tell(Drain())
            case Unfit(why) if not self._is_announced:
                self._unfit = why
                self._stopping.set()
            case Unfit(why):
                logs.error("a worker cannot start", worker=seat.index, reason=why)

    async def _watch(self, ops_url: str) -> None:
        """Announce the first readiness, hand orphaned listeners over, end workers that hang."""
        while True:
            due_s = self._clock.monotonic_s() + _WATCH_S
            await asyncio.sleep(_WATCH_S if self._is_announced else _WATCH_S / 10)
            if not self._is_announced and all(seat.is_ready for seat in self._seats):
                self._announce(ops_url)
            now_s = self._clock.monotonic_s()
            if now_s - due_s > _FROZEN_S:
                # Stopped by a hypervisor or `docker pause`, the workers could not beat either.
                logs.warning("everything stood still", for_s=round(now_s - due_s, 1))
                self._awake_s = now_s
            for seat in self._seats:
                self._end_if_wedged(seat, now_s)
                if self._is_able(seat, now_s):
                    self._give_back(seat)
                elif seat.is_ready or (seat.left_s is not None and now_s - seat.left_s > _ORPHANED_S):
                    self._hand_over(seat, now_s)

    def _beat_s(self, seat: Seat) -> float:
        """When the worker that sits here last beat; 0.0 before its first beat."""
        return self._board.slots[seat.index].gauge("sluicegate_heartbeat_seconds").value

    def _silent_s(self, seat: Seat, now_s: float) -> float:
        """For how long it could have beaten and did not."""
        return now_s - max(self._beat_s(seat), seat.started_s, self._awake_s)

    def _is_able(self, seat: Seat, now_s: float) -> bool:
        return seat.is_ready and self._silent_s(seat, now_s) <= _SILENT_S

    def _hand_over(self, orphan: Seat, now_s: float) -> None:
        """Let a living worker accept from this seat's listener, unless one does."""
        old = None if orphan.kept_by is None else self._seats[orphan.kept_by]
        if old is not None and self._is_able(old, now_s):
            return
        keeper = next((seat for seat in self._seats if seat is not orphan and self._is_able(seat, now_s)), None)
        if keeper is None:
            return
        if old is not None:
            old.tell(Release(orphan.index))  # it is silent, and hears this should it wake: two keepers would be one too many
        keeper.tell(Adopt(orphan.index))
        orphan.kept_by = keeper.index
        logs.warning("a listener is handed over", worker=orphan.index, to=keeper.index)

    def _give_back(self, seat: Seat) -> None:
        if seat.kept_by is not None:
            self._seats[seat.kept_by].tell(Release(seat.index))
            seat.kept_by = None
            logs.info("a listener is given back", worker=seat.index)

    def _end_if_wedged(self, seat: Seat, now_s: float) -> None:
        wedged_s = self._config.process.wedged_s
        silent_s = self._silent_s(seat, now_s)
        if seat.process is not None and silent_s > (wedged_s if self._beat_s(seat) else max(wedged_s, _FIRST_BEAT_S)):
            logs.error("a worker hangs and is ended", worker=seat.index, silent_s=round(silent_s, 1))
            seat.kill()

    # The end

    def _told_to_stop(self) -> None:
        self._signals += 1
        self._stopping.set()
        if self._signals > 1:
            self._stopping_now.set()

    async def _drain(self, sitting: list[asyncio.Task[None]]) -> bool:
        """Drain all workers.  True when each ended by itself with code 0, within drain_s."""
        logs.info("stopping", workers=len(self._seats))
        processes = [seat.process for seat in self._seats if seat.process is not None and seat.is_ready]
        for seat in self._seats:
            if seat.is_ready:
                seat.tell(Drain())
                continue
            self._hand_over(seat, self._clock.monotonic_s())  # whoever is told to drain still hears this, and serves what waits there
            seat.kill()  # not serving yet: nothing of anybody's is lost
        now = asyncio.create_task(_until(self._stopping_now))
        ended = asyncio.create_task(_all_of(sitting))
        await asyncio.wait([now, ended], timeout=self._config.process.drain_s, return_when=asyncio.FIRST_COMPLETED)
        now.cancel()
        if not ended.done():
            logs.error("stopping at once", reason="told twice" if self._stopping_now.is_set() else "drain_s is over")
            return False
        return all(process.returncode == 0 for process in processes)

    def _kill_all(self) -> None:
        for seat in self._seats:
            seat.kill()

    def _acted(self, acts: Acts, reason: str) -> None:
        self._screen.told(acts.version, reason)
        for seat in self._seats:
            seat.tell(Acted(acts))

    def _reload(self) -> None:
        """Read keys, limits, notices and the room's settings again; a bad file changes nothing and says why."""
        try:
            fresh = configuration.load(self._config_path)
            secrets = keys.load(fresh.keys_path)
            identity.check_keys(secrets.tokens)
            check_bind(self._config.ops.bind, secrets.ops)
            if self._config.room.name:
                office(self._config.room, secrets, self._limits_secret)
            Documents(fresh.notices.file, fresh.notices.max_age_s)  # raises here what would make each worker complain
        except ConfigError as exc:
            logs.error("reload changed nothing", reason=str(exc))
            self._screen.happened("reload-failed")
            return
        if secrets.limits_secret != self._limits_secret:
            logs.warning("the secret of the limits stays until the next start", reason="another would give everybody new buckets")
        if fresh.limits.prefix != self._config.limits.prefix:
            kept = self._config.limits.prefix
            logs.warning("limits.prefix stays until the next start", reason="another would give everybody new buckets", kept=kept, refused=fresh.limits.prefix)
        if secrets.ops != self._keys.ops:
            self._screen.viewers.let_go()  # who has only the old token is not let in again
        self._keys = secrets
        self._config = configuration.reloaded(self._config, fresh)
        for seat in self._seats:
            seat.tell(Reload(secrets.of_workers, self._config.limits, self._config.notices.file, self._config.room))
        if self._pacer is not None:
            self._pacer.reload(self._config.room)
        self._screen.happened("reloaded")
        logs.info(
            "reloaded",
            takes_effect=f"keys, notices, limits.policies and newcomers, room.{', '.join(configuration.ROOM_RELOADED)}; anything else at the next start",
        )


def _spool_secrets(config: Config, secrets: Keys) -> tuple[bytes, ...]:
    """What workers seal their spools with, made here once, before any of them starts.  Raises ConfigError."""
    if not config.spool.enabled:
        return ()
    try:
        return secrets_of(secrets.spool, RealDisk(), Path(config.process.data_dir), config.spool_path, os.urandom)
    except OSError as exc:
        raise ConfigError(f"spool key in {config.process.data_dir}: cannot be made: {exc.strerror}") from exc


def _pacer(config: Config, board: Board) -> Pacer | None:
    """What keeps the pace of the configured room; None where there is none.  Makes no contact yet."""
    room, deliver, directory = config.room, config.deliver, Path(config.process.data_dir)
    store = store_of(config)
    if store is None:
        return None
    lag = None
    if room.consumer_group:
        lag = LagReader(deliver.bootstrap, deliver.signups_topic, room.consumer_group, timeout_s=deliver.connect_timeout_ms / 1000)
    remembered = files_in(directory, room, worker=0).newest()
    stall_s, timeout_s = deliver.stall_ms / 1000, deliver.timeout_ms / 1000
    return Pacer(room, store, lag, board, directory, SYSTEM, stall_s=stall_s, timeout_s=timeout_s, margin=MARGIN, remembered=remembered)


def _auditor(config: Config, board: Board) -> Auditor:
    """What posts the minutes of the loss audit.  Makes no contact yet."""
    deliver = config.deliver
    kafka = Kafka(
        deliver.bootstrap,
        (deliver.audit_topic,),
        connect_timeout_s=deliver.connect_timeout_ms / 1000,
        request_timeout_s=deliver.timeout_ms / 500,
        batch_bytes_max=deliver.batch_bytes_max,
    )
    return Auditor(deliver, board, kafka, RealDisk(), Path(config.process.data_dir), SYSTEM, socket.gethostname(), os.urandom(8).hex())


async def _all_of(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)


async def _until(event: asyncio.Event) -> None:
    await event.wait()
