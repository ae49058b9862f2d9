"""The generator as it is called: a Locust subprocess against real sockets.  Is what it says of latency and of itself true?

A machine that is busy makes an honest generator say so; what is asked of latencies here has a second's room.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from benchmarks import cpu
from loadtests.crowd import shapes, tethered
from loadtests.generator import Generator, GeneratorError, _end
from loadtests.recording import Recording, read
from loadtests.scenario_file import load
from tests.loadtests.frozen_server import ROOT, hundred, server

LEAD_S: Final = 6.0  # Locust's own start, on a busy machine
RUN: Final = 1234


@contextmanager
def generator(folder: Path, url: str, began_s: float, *arguments: str, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    scenario = hundred(folder, seconds)
    (folder / "record").mkdir()
    argv = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), "--headless", "--only-summary"]
    argv += ["--host", url, "--scenario", str(scenario), "--run", str(RUN), "--record", str(folder / "record")]
    argv += ["--begin-at", repr(began_s), *arguments]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def ended(process: subprocess.Popen[bytes], folder: Path) -> Recording:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, (folder / "log").read_text()
    lines = [json.loads(line)["progress"] for line in out.splitlines() if line.startswith(b'{"progress"')]
    assert lines
    assert {"at_s", "meant", "sent", "answered", "accepted", "refused", "waiting", "late_p99_ms", "cpu_share"} <= set(lines[-1])
    return read(sorted((folder / "record").iterdir()))


def whole(recording: Recording, folder: Path) -> None:
    """Each arrival was sent once, when its seed says, and everything is written down."""
    arrivals = shapes.meant(load(str(folder / "hundred.toml"), None))
    calls = recording.calls[recording.calls["tries"] == 1]
    order = np.argsort(calls["arrival"])
    assert calls["arrival"][order].tolist() == list(range(len(arrivals)))
    assert calls["meant_s"][order].tobytes() == arrivals["at_s"].tobytes()
    assert sorted(recording.fates["arrival"].tolist()) == list(range(len(arrivals)))
    assert {process.meant_sha256 for process in recording.processes} == {shapes.digest(arrivals)}
    assert sum(process.sent for process in recording.processes) == sum(process.meant for process in recording.processes) == len(arrivals)
    assert [process.errors for process in recording.processes] == [[]] * len(recording.processes)


def test_two_processes_send_each_arrival_once(tmp_path: Path) -> None:
    with server() as url, generator(tmp_path, url, time.time() + LEAD_S + 2.0, "--processes", "2", seconds=4.0) as process:
        recording = ended(process, tmp_path)
    whole(recording, tmp_path)
    assert [one.number for one in recording.processes] == [0, 1]
    assert abs(recording.processes[0].sent - recording.processes[1].sent) <= 1


def test_a_generator_that_is_held_back_says_so(tmp_path: Path) -> None:
    """Stopped for three of eight seconds: what it then sent late it calls late, and its clients' latencies count from when they were meant."""
    began_s = time.time() + LEAD_S
    with server() as url, generator(tmp_path, url, began_s, seconds=8.0) as process:
        time.sleep(began_s + 2.0 - time.time())
        process.send_signal(signal.SIGSTOP)
        time.sleep(3.0)
        process.send_signal(signal.SIGCONT)
        recording = ended(process, tmp_path)
    whole(recording, tmp_path)
    assert np.nanpercentile(recording.calls["late_s"], 99) > 2.0
    assert np.percentile(recording.calls["done_s"] - recording.calls["meant_s"], 99) > 2.0


def test_what_cannot_be_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), "--headless", "--host", "http://127.0.0.1:9"]
    found = subprocess.run([*argv, "--scenario", "nowhere", "--record", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 2
    assert "nowhere: no such scenario" in found.stderr


# generator.py


PARENT: Final = """
import asyncio, sys
from pathlib import Path
from loadtests.generator import sending
from loadtests.target import Target

async def main():
    scenario, url, secret, record = sys.argv[1:]
    async with sending(Path(scenario), Target(url, "", tokens_file=Path(secret)), 1, Path(record), 2):
        await asyncio.sleep(60)

asyncio.run(main())
"""


def alive(pids: list[int]) -> list[int]:
    """A zombie is dead: only its parent has not asked yet."""
    found = []
    for pid in pids:
        try:
            state = (cpu.PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        found += [pid] * (state != "Z")
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_all_its_processes_die_with_a_harness_that_is_killed(tmp_path: Path) -> None:
    """Nobody is there to end them: the kernel does."""
    (tmp_path / "tokens").write_text("a.member.s\n")
    (tmp_path / "record").mkdir()
    with server() as url:
        argv = [sys.executable, "-c", PARENT, str(hundred(tmp_path)), url, str(tmp_path / "tokens"), str(tmp_path / "record")]
        with subprocess.Popen(argv, cwd=ROOT) as harness:
            until_s = time.monotonic() + 60
            while len(below := cpu.tree(harness.pid, cpu.parents())[1:]) < 3:
                assert harness.poll() is None
                assert time.monotonic() < until_s, "Locust forks no processes"
                time.sleep(0.1)
            time.sleep(0.5)  # they have asked to die by now
            harness.kill()
        try:
            until_s = time.monotonic() + 5
            while left := alive(below):
                assert time.monotonic() < until_s, f"{left} go on"
                time.sleep(0.05)
        finally:
            for pid in alive(below):
                os.kill(pid, signal.SIGKILL)


def test_who_is_started_too_late_does_not_start(tmp_path: Path) -> None:
    """The parent died between fork and prctl: another one stands in its place."""
    argv = tethered.command(["/bin/sh", "-c", f"touch {tmp_path}/started"])
    assert subprocess.run(argv, check=False).returncode == 0
    (tmp_path / "started").unlink()
    argv[4] = "1"
    assert subprocess.run(argv, check=False).returncode == 1
    assert not (tmp_path / "started").exists()


async def started(script: str, log: Path) -> asyncio.subprocess.Process:
    """In Locust's stead."""
    log.write_text("what it said last\n")
    return await asyncio.create_subprocess_exec("/bin/sh", "-c", script, stdout=asyncio.subprocess.PIPE, start_new_session=True)


@pytest.mark.parametrize(("ending", "code"), [("exit 2", 2), ("kill -9 $$", -9)])
async def test_another_end_than_0_is_the_harness_that_broke(ending: str, code: int, tmp_path: Path) -> None:
    process = await started(f'echo \'{{"progress": {{"sent": 1.0}}}}\'; echo more; {ending}', tmp_path / "log")
    told = list[object]()
    with pytest.raises(GeneratorError, match=f"ended with {code}; what it said last"):
        await Generator(process, tmp_path, time.time(), tmp_path / "log").follow(load(str(hundred(tmp_path)), None), told.append)
    assert told == [{"sent": 1.0}]


async def test_what_it_forked_is_ended_with_it(tmp_path: Path) -> None:
    process = await started("sleep 1000 & echo $!; wait", tmp_path / "log")
    assert process.stdout is not None
    forked = int(await process.stdout.readline())
    assert alive([forked])
    await _end(process)
    until_s = time.monotonic() + 5
    try:
        while alive([forked]):
            assert time.monotonic() < until_s
            await asyncio.sleep(0.01)
    finally:
        for pid in alive([forked]):
            os.kill(pid, signal.SIGKILL)
