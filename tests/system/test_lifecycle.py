"""Start, stop, reload, and workers that die, hang or are left alone: what an operator may rely on."""

import asyncio
import contextlib
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from devstack import Devstack
from gateway import keys
from gateway.config import Config, Http
from gateway.config import Process as Settings
from gateway.ops.readings import STATES
from gateway.supervisor import Supervisor
from tests.system.gateway import ROOT, Gateway, running, sample, sync
from tests.system.load import Ledger, Phone, accepted, load, session, until

Topics = Callable[..., Awaitable[dict[str, str]]]


def is_running(pid: int) -> bool:
    """False where it is gone, or only waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until_gone(pids: Iterable[int], within_s: float) -> float:
    return await until(lambda: not any(is_running(pid) for pid in pids), within_s, "no process left")


def kill(pid: int, sign: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)


async def begin_sync(gateway: Gateway, user: str, sent_bytes: int | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """A connection on which so many bytes of a request have been sent (None: of its body, half), and the rest."""
    reader, writer = await asyncio.open_connection(*gateway.public_address)
    body = json.dumps(sync(sample(1))).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in (gateway.headers(user) | {"Host": "x", "Content-Length": str(len(body))}).items())
    request = f"POST /v1/syncs HTTP/1.1\r\n{head}\r\n".encode() + body
    split = len(request) - len(body) // 2 if sent_bytes is None else sent_bytes
    writer.write(request[:split])
    await writer.drain()
    return reader, writer, request[split:]


async def finish(begun: tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]) -> bytes:
    """Send the rest; returns all that is answered until the connection closes."""
    reader, writer, rest = begun
    writer.write(rest)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


async def test_a_drain_loses_and_refuses_nobody(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics, lag_s = await fresh_topics(), 3.0
    # The slow one's body takes longer than the default lets it.
    async with running(directory, stack.kafka.bootstrap, deliver=topics, process={"drain_lag_s": lag_s}, http={"body_grace_s": 10}) as gateway:
        pids = [gateway.process.pid, *gateway.worker_pids()]
        clock = asyncio.get_running_loop().time
        async with load(gateway, phones=8) as kept, load(gateway, phones=8, keeps=False, prefix="fresh") as fresh:
            await accepted(kept, within_s=30)
            told_s = clock()
            gateway.process.terminate()
            async with asyncio.timeout(lag_s):
                while (shown := await gateway.readyz())[0] != 503:
                    pass
            assert shown[1]["why"] == "draining"
            await until_drains(gateway)
            heard_s = clock()
            await asyncio.sleep(told_s + lag_s - 1.0 - clock())
            slow, silent = await begin_sync(gateway, "slow", None), await begin_sync(gateway, "silent", 0)
            # Both connected before the lag was over: they may finish, long after everything else has ended.
            for begun, after_s in ((silent, 0.2), (slow, 1.2)):
                await asyncio.sleep(told_s + lag_s + after_s - clock())
                answer = await finish(begun)
                assert answer.startswith(b"HTTP/1.1 202 "), answer
                assert b"\r\nConnection: close\r\n" in answer
            async with asyncio.timeout(15):
                assert await gateway.process.wait() == 0
        await until_gone(pids, 1)
    for ledger in (kept, fresh):
        print("drain:", dict(ledger.tally()))
        # A worker's lag begins when it hears of the end; who was sent a second before is there by then.
        served = [line for line in ledger.lines if line.sent_s < told_s + lag_s - 1.0]
        assert {line.status for line in served} == {202}
        assert all(line.closes for line in served if line.sent_s > heard_s)
        later = {line.code for line in ledger.lines} - {""}
        assert later <= {"draining", "ConnectionRefusedError", "ConnectionResetError"}
    kept.add(fresh)
    kept.meant |= {("slow", 1), ("silent", 1)}
    await kept.reconcile(stack.kafka.bootstrap, topics["syncs_topic"])


LONG = {"drain_lag_s": 20, "drain_s": 60}
# Half of the lag is for the signal and the requests that are on their way: a busy machine takes some of it.
LAG_S, SURELY_S = 2.0, 1.0


async def test_a_second_signal_ends_it_at_once(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), process=LONG) as gateway:
        pids = [gateway.process.pid, *gateway.worker_pids()]
        gateway.process.terminate()
        await until(lambda: '"stopping"' in gateway.log(), 15, "the first signal was heard")
        gateway.process.terminate()
        async with asyncio.timeout(LONG["drain_lag_s"] / 2):
            assert await gateway.process.wait() == 1
        await until_gone(pids, 10)
    # A worker may have said after that that it drains: it heard of the first signal later.
    assert [line["reason"] for line in gateway.log_lines() if line["event"] == "stopping at once"] == ["told twice"]


async def test_ctrl_c_drains_like_sigterm(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """A terminal sends SIGINT to every process of its foreground group: the workers must not die of theirs."""
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver=topics, process={"drain_lag_s": LAG_S}) as gateway:
        group = [pid for pid in (gateway.process.pid, *gateway.worker_pids()) if os.getpgid(pid) == os.getpgid(0)]
        async with load(gateway, phones=8) as ledger:
            await accepted(ledger, within_s=30)
            told_s = asyncio.get_running_loop().time()
            for pid in group:
                kill(pid, signal.SIGINT)
            async with asyncio.timeout(15):
                assert await gateway.process.wait() == 0
        assert {line.status for line in ledger.lines if line.sent_s < told_s + SURELY_S} == {202}
    await ledger.reconcile(stack.kafka.bootstrap, topics["syncs_topic"])


async def test_workers_end_by_themselves_when_the_supervisor_is_killed(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver=topics, process={"drain_lag_s": LAG_S}) as gateway:
        workers = gateway.worker_pids()
        async with load(gateway, phones=8) as ledger:
            await accepted(ledger, within_s=30)
            killed_s = asyncio.get_running_loop().time()
            gateway.process.kill()
            print(f"supervisor killed: workers gone after {await until_gone(workers, 15):.1f} s")
        assert {line.status for line in ledger.lines if line.sent_s < killed_s + SURELY_S} == {202}
    await ledger.reconcile(stack.kafka.bootstrap, topics["syncs_topic"])


# Every deadline of a request short, so that drain_s may be.
SHORT: dict[str, dict[str, object]] = {"http": {"body_timeout_s": 0.5, "write_timeout_s": 0.05}, "process": {"drain_lag_s": 2.0, "drain_s": 6.0}}


async def test_no_process_outlives_the_drain_of_an_orphan(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """The supervisor is killed, and a worker hangs while it drains: nobody is left who could end it but the kernel."""
    deliver = await fresh_topics() | {"timeout_ms": 500, "stall_ms": 400}
    async with running(directory, stack.kafka.bootstrap, deliver=deliver, **SHORT) as gateway:
        hung, other = gateway.worker_pids()
        gateway.process.kill()
        await until(lambda: gateway.log().count('"draining"') == 2, 10, "both workers drain")
        os.kill(hung, signal.SIGSTOP)
        drain_s = cast("float", SHORT["process"]["drain_s"])
        over_s = asyncio.get_running_loop().time() + drain_s
        await until_gone([other], drain_s)
        await asyncio.sleep(over_s - asyncio.get_running_loop().time())
        os.kill(hung, signal.SIGCONT)
        await until_gone([hung], 10)
        assert [line["event"] for line in gateway.log_lines()].count("drained") == 1


@contextlib.contextmanager
def soft_limit_of_files(pid: int, soft: int) -> Iterator[None]:
    """So many open files for this process, for a while; what is open stays open."""
    was = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, was[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, was)


def open_files(pid: int) -> set[int]:
    return {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}


async def settled(pid: int) -> None:
    """Its own questions have made their connections: nothing more is opened."""
    seen: list[set[int]] = []
    async with asyncio.timeout(20):
        while len(seen) < 15 or any(files != seen[-1] for files in seen[-15:]):
            seen.append(open_files(pid))
            await asyncio.sleep(0.1)


def free_descriptor(pid: int, at_least: int = 0) -> int:
    """The lowest one: as a limit it leaves no other."""
    taken = open_files(pid)
    return next(fd for fd in itertools.count(at_least) if fd not in taken)


async def test_a_worker_that_cannot_be_started_costs_nobody_else(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics()) as gateway:
        killed, other = gateway.worker_pids()
        supervisor = gateway.process.pid
        await settled(supervisor)
        before = open_files(supervisor)
        # One free descriptor, and one more when the worker's stream closes: enough for a socket pair, too few for a process.
        with soft_limit_of_files(supervisor, free_descriptor(supervisor, free_descriptor(supervisor) + 1)):
            os.kill(killed, signal.SIGKILL)
            await until(lambda: gateway.log().count('"a worker cannot be started"') == 3, 20, "three attempts, after 0, 0.5 and 1 s")
            assert gateway.worker_pids() == [other]
            assert len(open_files(supervisor)) == len(before) - 1  # no attempt left one of its pair behind
            await assert_handed_over(gateway, 1)
        await until_serving(gateway)
        assert other in gateway.worker_pids()
        assert await gateway.stop() == 0


async def until_connected(gateway: Gateway, count: int) -> None:
    async with asyncio.timeout(20):
        while sum(value for name, value in (await gateway.metrics()).items() if name.startswith("sluicegate_connections{")) != count:
            await asyncio.sleep(0.02)


async def test_a_drain_at_the_limit_of_open_files_cuts_nobody_off(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """Linux says EMFILE even of an empty accept queue."""
    settings: dict[str, dict[str, object]] = {"deliver": {**await fresh_topics()}, "http": {"body_grace_s": 10}}
    async with contextlib.AsyncExitStack() as ending:
        with soft_limit_of_files(os.getpid(), 1_024):
            gateway = await ending.enter_async_context(running(directory, stack.kafka.bootstrap, **settings))
        slow = [await begin_sync(gateway, f"slow-{n}", None) for n in range(8)]
        await until_connected(gateway, 8)
        with contextlib.ExitStack() as full:
            for pid in gateway.worker_pids():
                assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == 10_106  # what it inherited was too little
                full.enter_context(soft_limit_of_files(pid, 3))
            gateway.process.terminate()
            await until(lambda: gateway.log().count("the last connections are not accepted") == 2, 20, "the end of accepting")
        answers = await asyncio.gather(*(finish(begun) for begun in slow))
        assert {answer[:13] for answer in answers} == {b"HTTP/1.1 202 "}
        async with asyncio.timeout(20):
            assert await gateway.process.wait() == 0


async def test_a_machine_that_stood_still_keeps_its_workers(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """`docker pause`, a live migration: nobody could beat, so nobody hangs."""
    wedged_s = 4  # so long may we take to wake the workers, and each of their beats
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), process={"wedged_s": wedged_s}) as gateway:
        workers = gateway.worker_pids()
        for pid in (gateway.process.pid, *workers):
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(wedged_s + 1.5)
        os.kill(gateway.process.pid, signal.SIGCONT)
        await asyncio.sleep(0.5)  # it looks at its workers first
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: '"everything stood still"' in gateway.log(), 10, "the freeze in the log")
        await asyncio.sleep(1)
        assert gateway.worker_pids() == workers
        await assert_served(gateway)


async def test_a_silent_worker_accepts_no_longer_until_it_beats_again(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """Long before it counts as hung its connections go to another; a worker that merely stood still loses nothing."""
    # Nobody counts as hung meanwhile, however slow this machine is.
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), process={"wedged_s": 120}) as gateway:
        workers = gateway.worker_pids()
        os.kill(workers[0], signal.SIGSTOP)
        await assert_handed_over(gateway, 1)
        os.kill(workers[0], signal.SIGCONT)
        await until(lambda: gateway.log().count('"a listener is given back"') >= 1, 20, "it accepts for itself")
        # Now the other one stands still: each can be the keeper, and none keeps what it gave back.
        os.kill(workers[1], signal.SIGSTOP)
        await assert_handed_over(gateway, 2)
        os.kill(workers[1], signal.SIGCONT)
        await until(lambda: gateway.log().count('"a listener is given back"') >= 2, 20, "it accepts for itself")
        assert gateway.worker_pids() == workers
        assert await gateway.stop() == 0


# (last beat, start, end of a freeze, now, is it ended?), all in seconds of one clock; wedged_s is 10
WEDGED = [
    *((100, 50, 0, 110, False), (100, 50, 0, 111, True)),
    *((100, 50, 200, 209, False), (100, 50, 200, 211, True)),  # the freeze ended at 200
    *((0, 100, 0, 129, False), (0, 100, 0, 131, True)),  # it hangs before its first beat
    (100, 105, 0, 114, False),  # the beat is its predecessor's
]


@pytest.mark.parametrize(("beat_s", "started_s", "awake_s", "now_s", "is_ended"), WEDGED)
def test_who_counts_as_hung(*, beat_s: float, started_s: float, awake_s: float, now_s: float, is_ended: bool) -> None:
    kills = []

    class Process:
        def kill(self) -> None:
            kills.append(now_s)

    supervisor = Supervisor(Config(http=Http(bind="127.0.0.1:0"), process=Settings(workers=1)), keys.Keys(tokens=()), None)
    [seat] = supervisor._seats
    seat.process, seat.started_s, supervisor._awake_s = cast("asyncio.subprocess.Process", Process()), started_s, awake_s
    supervisor._board.slots[0].gauge("sluicegate_heartbeat_seconds").set(beat_s)
    supervisor._end_if_wedged(seat, now_s)
    supervisor._listeners.close()
    assert bool(kills) == is_ended


async def test_a_worker_that_hangs_is_replaced(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver=topics, process={"wedged_s": 5}) as gateway, session(keeps=False) as phones:
        hung, other = gateway.worker_pids()
        os.kill(hung, signal.SIGSTOP)
        async with asyncio.timeout(20):  # it is shown so for half of wedged_s, and looked at once a second
            while "wedged" not in [worker["state"] for worker in (await gateway.readyz())[1]["workers"]]:
                await asyncio.sleep(0.05)
        assert (await gateway.readyz())[0] == 200  # the other one answers
        await until_gone([hung], 10)
        await until_serving(gateway)
        assert other in gateway.worker_pids()
        phone = Phone(gateway, phones, Ledger(), "u1")
        assert {(await phone.send()).status for _ in range(20)} == {202}
    assert "a worker hangs and is ended" in [line["event"] for line in gateway.log_lines()]


async def until_serving(gateway: Gateway) -> None:
    """Wait until both workers serve; who was killed before must be gone.

    The processes are looked at first: a seat's state is cleared before its successor is started, and read from the board at once.
    """
    async with asyncio.timeout(20):
        while len(gateway.worker_pids()) < 2 or await states(gateway) != {"serving"}:
            await asyncio.sleep(0.05)


async def states(gateway: Gateway) -> set[str]:
    """The workers' as the board has them now; /readyz is of the last look."""
    return {STATES[int(value)] for name, value in (await gateway.metrics()).items() if name.startswith("sluicegate_worker_state{")}


async def kill_all_but(gateway: Gateway, keeper: int) -> None:
    """Whoever sits beside it dies, and so do those who follow, each before it serves: until the next one is 5 s away."""
    for _ in range(5):  # successors after 0, 0.5, 1, 2, 5 s
        await until(lambda: len(gateway.worker_pids()) == 2, 20, "a successor")
        [victim] = [pid for pid in gateway.worker_pids() if pid != keeper]
        os.kill(victim, signal.SIGKILL)
        await until_gone([victim], 5)


async def until_drains(gateway: Gateway) -> None:
    """Wait until both workers have heard that it ends."""
    async with asyncio.timeout(20):
        while await states(gateway) != {"draining"}:
            await asyncio.sleep(0.02)


async def assert_handed_over(gateway: Gateway, times: int) -> None:
    """So often another worker has taken somebody's listener, and it answers there."""
    await until(lambda: gateway.log().count('"a listener is handed over"') >= times, 20, "another accepts for it")
    await assert_served(gateway)


async def assert_served(gateway: Gateway) -> None:
    """So many new connections that the kernel gives some to each listener: all are answered, none is refused."""
    ledger = Ledger()
    async with session(keeps=False) as phones, asyncio.timeout(20):
        await asyncio.gather(*(Phone(gateway, phones, ledger, f"{len(ledger.lines)}-{n}").send() for n in range(40)))
    assert ledger.tally() == {(202, ""): 40}


async def test_an_orphaned_listener_goes_to_a_living_worker(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """One worker dies again and again until its successor is 5 s away; meanwhile others answer its connections."""
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics()) as gateway:
        keeper = gateway.worker_pids()[0]
        await kill_all_but(gateway, keeper)
        await assert_handed_over(gateway, 1)
        await until_serving(gateway)
        await assert_served(gateway)
        # The same once more: the listener goes to the same keeper a second time.
        await kill_all_but(gateway, keeper)
        await assert_handed_over(gateway, 2)
        # Now the keeper dies too.  Its successor comes at once and has to take both listeners over.
        os.kill(keeper, signal.SIGKILL)
        await until_gone([keeper], 5)
        await assert_handed_over(gateway, 3)
        # And who is told to stop now does not call the missing one a failure.
        assert await gateway.stop() == 0


async def test_a_worker_that_still_starts_is_no_failure_of_the_stop(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics()) as gateway:
        killed = gateway.worker_pids()[0]
        os.kill(killed, signal.SIGKILL)
        await until_gone([killed], 5)
        await until(lambda: len(gateway.worker_pids()) == 2, 20, "a successor")
        assert await gateway.stop() == 0


async def test_a_worker_ended_by_hand_drains_and_is_replaced(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver=topics) as gateway:
        async with load(gateway, phones=8) as ledger:
            await accepted(ledger, within_s=30)
            ended = gateway.worker_pids()[0]
            os.kill(ended, signal.SIGTERM)
            await until_gone([ended], 10)
            await until_serving(gateway)
            await accepted(ledger, within_s=30)
        print("one worker ended by hand:", dict(ledger.tally()))
        assert {line.code for line in ledger.lines} <= {"", "draining"}
    await ledger.reconcile(stack.kafka.bootstrap, topics["syncs_topic"])


async def test_sighup_takes_new_keys_and_notices_and_refuses_broken_ones(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    notices = directory.parent / "notices.json"
    notices.write_text('{"notices": []}')
    settings = {"notices": {"file": str(notices)}, "deliver": await fresh_topics()}
    # A connection each: one that is kept may be the killed worker's.
    async with running(directory, stack.kafka.bootstrap, **settings) as gateway, session(keeps=False) as phones:
        pids, keys_file = gateway.worker_pids(), directory / "keys.json"

        async def status(headers: dict[str, str]) -> int:
            async with phones.post(f"{gateway.public}/v1/syncs", headers=headers, json=sync()) as answer:
                return answer.status

        async def reload(until_logged: str) -> dict[str, Any]:
            lines = len(gateway.log_lines())

            def said() -> list[dict[str, Any]]:
                return [line for line in gateway.log_lines()[lines:] if line["event"] == until_logged]

            gateway.process.send_signal(signal.SIGHUP)
            await until(lambda: bool(said()), 20, until_logged)
            return said()[0]

        async def served_ids() -> set[str]:
            ids = set()
            for _ in range(20):  # from both workers, by chance of the kernel
                async with session(keeps=False) as one, one.get(f"{gateway.public}/v1/notices") as answer:
                    ids |= {notice["id"] for notice in (await answer.json())["notices"]} or {"none"}
            return ids

        old = gateway.headers("u1")
        assert await status(old) == 202
        assert await served_ids() == {"none"}
        good, wrong_pem = keys_file.read_text(), {"tokens": [{"kid": "x", "alg": "RS256", "key": "no key"}]}
        for broken in ("{", '{"tokens": []}', json.dumps(wrong_pem)):
            keys_file.write_text(broken)
            assert "keys" in (await reload("reload changed nothing"))["reason"]
            assert await status(old) == 202
        keys_file.unlink()
        keys.make(keys_file)
        keys_file.write_text(keys_file.read_text().replace('"dev"', '"dev-2"'))
        notices.write_text('{"notices": [{"id": "n1", "title": {"en": "t"}, "text": {"en": "t"}}]}')
        gateway._keys = keys.load(keys_file)
        await reload("reloaded")
        async with asyncio.timeout(20):  # each worker hears of it by itself
            while await served_ids() != {"n1"}:
                pass
        assert (await status(old), await status(gateway.headers("u1"))) == (401, 202)
        notices.write_text("{")
        await reload("reload changed nothing")
        assert await served_ids() == {"n1"}
        assert gateway.worker_pids() == pids
        # A worker that starts while the file is broken serves syncs all the same.
        os.kill(pids[0], signal.SIGKILL)
        await until_gone(pids[:1], 5)
        await until_serving(gateway)
        assert good != keys_file.read_text()
        assert await status(gateway.headers("u1")) == 202


def gateway_command(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    command = (sys.executable, "-m", "gateway", *arguments)
    return subprocess.run(command, cwd=ROOT, env=environ | {"GATEWAY_DATA_DIR": str(directory)}, capture_output=True, text=True, timeout=30, check=False)


WRONG = [
    ("[http]\nbnid = 'x:1'", "http: Object contains unknown field `bnid`"),
    ("[process]\nworkers = 1000", "process.workers: "),
    ("[deliver]\nstall_ms = 9000", "deliver.stall_ms must not exceed deliver.timeout_ms"),
    ("[deliver", "not valid TOML"),
    ("[identity]\nkeys_file = '/nowhere/keys.json'", "keys file /nowhere/keys.json: cannot be read"),
]


@pytest.mark.parametrize(("settings", "complaint"), WRONG, ids=[settings for settings, _ in WRONG])
def test_a_wrong_setting_is_one_line_and_exit_2(directory: Path, settings: str, complaint: str) -> None:
    directory.mkdir()
    keys.make(directory / "keys.json")
    (directory / "gateway.toml").write_text(settings)
    ended = gateway_command(directory, "--config", str(directory / "gateway.toml"))
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("sluicegate: ")
    assert complaint in line


@pytest.mark.parametrize("taken", ["http", "ops"])
def test_a_port_in_use_ends_the_start_before_the_other_opens(directory: Path, taken: str) -> None:
    directory.mkdir()
    keys.make(directory / "keys.json")
    with free_port() as busy, free_port() as free:
        busy.listen()
        ports = {taken: busy.getsockname()[1], ("ops" if taken == "http" else "http"): free.getsockname()[1]}
        free.close()
        config = directory / "gateway.toml"
        config.write_text("".join(f"[{section}]\nbind = '127.0.0.1:{port}'\n" for section, port in ports.items()))
        environ = os.environ | {"GATEWAY_DATA_DIR": str(directory)}
        with subprocess.Popen((sys.executable, "-m", "gateway", "--config", str(config)), cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                with socket.socket() as visitor:
                    assert visitor.connect_ex(("127.0.0.1", ports["ops" if taken == "http" else "http"])) != 0
                time.sleep(0.0005)
            assert process.stderr is not None
            [line] = process.stderr.read().splitlines()
    assert process.returncode == 2
    assert line == f"sluicegate: {taken}.bind 127.0.0.1:{ports[taken]}: Address already in use"


@contextlib.contextmanager
def free_port() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_check_config_shows_what_is_in_force_and_no_secret(directory: Path) -> None:
    directory.mkdir()
    (directory / "gateway.toml").write_text("[redis]\nurl = 'redis://u:hunter2@cache:6379/0'\n[process]\nworkers = 3\n")
    ended = gateway_command(directory, "check-config", "--config", str(directory / "gateway.toml"))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert 'redis.url = "redis://u:***@cache:6379/0"' in ended.stdout.splitlines()
    assert "process.workers = 3" in ended.stdout.splitlines()
    assert "hunter2" not in ended.stdout


def test_the_token_command_mints_for_a_possible_user(directory: Path) -> None:
    made = gateway_command(directory, "keys")
    assert (made.returncode, (directory / "keys.json").stat().st_mode & 0o777) == (0, 0o600)
    token = gateway_command(directory, "token", "--user", "u1")
    assert (token.returncode, token.stdout.count("."), token.stderr) == (0, 2, "")
    for user in ("", "a b", "홍길동", "x" * 129):
        refused = gateway_command(directory, "token", "--user", user)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("sluicegate: --user: want ")


async def test_every_log_line_is_json(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics()) as gateway:
        os.kill(gateway.worker_pids()[0], signal.SIGKILL)
        await until(lambda: '"a worker ended"' in gateway.log(), 20, "a death in the log")
        await until_serving(gateway)
    for line in gateway.log().splitlines():
        said = json.loads(line)
        assert said.keys() >= {"time", "level", "process", "event"}
    assert {"supervisor", "worker-0", "worker-1"} >= {said["process"] for said in gateway.log_lines()} > {"supervisor"}
