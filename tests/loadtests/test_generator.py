"""The generator as it is called: a Locust subprocess against real sockets.  Is what it says of latency and of itself true?

A machine that is busy makes an honest generator say so; what is asked of latencies here has a second's room.
"""

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

from benchmarks.servers import free_port
from loadtests.crowd import shapes
from loadtests.recording import Recording, read
from loadtests.scenario import load

ROOT: Final = Path(__file__).parents[2]
LEAD_S: Final = 6.0  # Locust's own start, on a busy machine
SECONDS: Final = 30.0
RUN: Final = 1234
SCENARIO: Final = """
title = "a hundred a second"
why = "the generator's own examination"
seed = 1812
seconds = {seconds}
drain_s = 20.0
streams = [{{ name = "steps", kind = "sync", shape = [[{seconds}, 100.0, 100.0]] }}]
slo = [{{ metric = "syncs.p99_ms", at_most = 500.0 }}]
"""


@contextmanager
def server(*arguments: str) -> Iterator[int]:
    port = free_port()
    argv = [sys.executable, "-m", "loadtests.crowd.frozen", "--port", str(port), *arguments]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"READY\n"
            yield port
        finally:
            process.kill()


@contextmanager
def generator(folder: Path, port: int, began_s: float, *arguments: str, seconds: float = SECONDS) -> Iterator[subprocess.Popen[bytes]]:
    scenario = folder / "hundred.toml"
    scenario.write_text(SCENARIO.format(seconds=seconds))
    (folder / "record").mkdir()
    argv = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), "--headless", "--only-summary"]
    argv += ["--host", f"http://127.0.0.1:{port}", "--scenario", str(scenario), "--run", str(RUN), "--record", str(folder / "record")]
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
    with server() as port, generator(tmp_path, port, time.time() + LEAD_S + 2.0, "--processes", "2", seconds=4.0) as process:
        recording = ended(process, tmp_path)
    whole(recording, tmp_path)
    assert [one.number for one in recording.processes] == [0, 1]
    assert abs(recording.processes[0].sent - recording.processes[1].sent) <= 1


def test_a_generator_that_is_held_back_says_so(tmp_path: Path) -> None:
    """Stopped for three of eight seconds: what it then sent late it calls late, and its clients' latencies count from when they were meant."""
    began_s = time.time() + LEAD_S
    with server() as port, generator(tmp_path, port, began_s, seconds=8.0) as process:
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
