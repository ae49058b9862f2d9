"""The room's address in Compose follows the primary: its own HAProxy, Sentinel and Valkey settings, on loopback.

Only addresses, ports and folders are others here than in the files.  Needs Debian's haproxy: `make test-deploy`.
"""

import asyncio
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devstack.ports import lease_port
from devstack.valkey import _wheel_binary
from ratelimit.redis_store import Facts, RedisStore
from ratelimit.store import StoreAway
from tests.deploy.manifests import COMPOSE

pytestmark = pytest.mark.deploy
ANSWER_S = 60.0  # a failover takes five to ten seconds; the rest for a busy machine


class Fleet:
    """Two servers of the room, three Sentinels, and the proxy before them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        # What the files call them, in the order of being told apart: an address with its port before the address alone.
        self._leases = {name: lease_port() for name in ("room", "a", "b", "s1", "s2", "s3")}
        self.ports = {name: lease.port for name, lease in self._leases.items()}
        self._replaced = {
            "172.30.11.11:6379": f"127.0.0.1:{self.ports['a']}",
            "172.30.11.12:6379": f"127.0.0.1:{self.ports['b']}",
            "172.30.11.11 6379": f"127.0.0.1 {self.ports['a']}",
            **{f"172.30.11.2{n}:26379": f"127.0.0.1:{self.ports[f's{n}']}" for n in (1, 2, 3)},
            # A Sentinel's answer is address and port; here they differ by the port.
            "172.30.11.11": str(self.ports["a"]),
            "172.30.11.12": str(self.ports["b"]),
            "bind :6379": f"bind 127.0.0.1:{self.ports['room']}",
        }

    def start(self) -> None:
        for name, more in (("a", ""), ("b", f"replicaof 127.0.0.1 {self.ports['a']}")):
            self._run(name, [str(_wheel_binary())], "room.conf", "port 6379", more)
        for name in ("s1", "s2", "s3"):
            self._run(name, [str(_wheel_binary())], "sentinel.conf", "port 26379", "", "--sentinel")
        haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert haproxy, "make test-deploy brings Debian's haproxy"
        (self._folder / "room.cfg").write_text(self._here("room.cfg"))
        self._running["room"] = subprocess.Popen([haproxy, "-db", "-f", str(self._folder / "room.cfg")])

    def _run(self, name: str, program: list[str], file: str, port: str, more: str, *flags: str) -> None:
        folder = self._folder / name
        folder.mkdir()
        text = self._here(file).replace(port, f"port {self.ports[name]}").replace("dir /data", f"dir {folder}")
        (folder / file).write_text(f"bind 127.0.0.1\n{text}\n{more}\n")
        self._running[name] = subprocess.Popen([*program, str(folder / file), *flags], stdout=subprocess.DEVNULL)

    def _here(self, file: str) -> str:
        text = (COMPOSE / file).read_text()
        for there, here in self._replaced.items():
            text = text.replace(there, here)
        assert not re.search(r"^[^#\n]*172\.30\.", text, re.MULTILINE), text
        return text

    def send(self, name: str, sign: signal.Signals) -> None:
        self._running[name].send_signal(sign)

    def stop(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        for lease in self._leases.values():
            lease.release()


async def facts(port: int) -> Facts | None:
    """Of whoever answers there on a new connection; None: nobody."""
    store = RedisStore(f"redis://127.0.0.1:{port}/0", give_up_s=1.0)
    try:
        return await store.facts()
    except StoreAway:
        return None
    finally:
        await store.close()


async def until(port: int, is_so: Callable[[Facts], bool], what: str) -> Facts:
    ends_s = time.monotonic() + ANSWER_S
    while time.monotonic() < ends_s:
        seen = await facts(port)
        if seen is not None and is_so(seen):
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError(f"{what}: not within {ANSWER_S:g} s")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    running = Fleet(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.stop()


async def test_the_rooms_address_goes_to_the_primary_and_never_to_one_that_was(fleet: Fleet) -> None:
    """The primary is frozen, its replica takes over, and it wakes as a second primary that nobody is to talk to."""
    ports = fleet.ports
    a = await until(ports["a"], lambda seen: seen.is_primary, "room-a serves")
    b = await until(ports["b"], lambda seen: not seen.is_primary, "room-b replicates")
    assert a.is_appending
    assert a.maxmemory_policy == "noeviction"
    await until(ports["room"], lambda seen: seen.run_id == a.run_id, "the address is room-a's")
    for name in ("s1", "s2", "s3"):
        await _knows_the_others(ports[name])
    fleet.send("a", signal.SIGSTOP)
    after = await until(ports["room"], lambda seen: seen.run_id == b.run_id, "the address is room-b's")
    assert after.is_primary

    fleet.send("a", signal.SIGCONT)
    was_second_primary = False
    while True:
        itself, through = await facts(ports["a"]), await facts(ports["room"])
        assert through is None or through.run_id == b.run_id
        if itself is not None and not itself.is_primary:
            break
        was_second_primary |= itself is not None
        await asyncio.sleep(0.02)
    assert was_second_primary, "the old primary never said that it was one: this run showed nothing"


async def _knows_the_others(port: int) -> None:
    ends_s = time.monotonic() + ANSWER_S
    while time.monotonic() < ends_s:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"SENTINEL master room\r\nPING\r\n")
        text = await reader.readuntil(b"PONG\r\n")
        writer.close()
        if re.search(rb"num-slaves\r\n\$1\r\n1\r\n.*num-other-sentinels\r\n\$1\r\n2\r\n", text, re.DOTALL):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the Sentinels do not know each other")
