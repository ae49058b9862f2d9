"""How a worker treats its memory."""

import ctypes
import gc
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import memory


def test_cycles_are_looked_for_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[int, ...]] = []
    monkeypatch.setattr(gc, "freeze", lambda: found.append(()))  # the test run's own memory stays as it is
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: found.append(numbers))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())  # a C library without mallopt
    memory.calm()
    assert found == [(), (20_000, 20, 50)]


FAULTS = """
import resource, sys
from gateway import memory
if sys.argv[1] == "calm":
    memory.calm()
def use(n):
    for _ in range(n):
        sum(map(len, [bytes(400_000) for _ in range(4)]))  # some batches, made and dropped
use(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use(200)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of making and dropping the same 320 MB again and again."""
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True, cwd=Path(__file__).parents[1]).stdout)


def test_what_one_batch_frees_the_next_one_has() -> None:
    """Without this, pages of it are given back and fetched again each time, one fault for each."""
    assert faults("calm") * 10 < faults("as it is")


def test_what_a_process_holds_is_some_megabytes() -> None:
    resident = memory.Resident()
    before = resident.bytes()
    assert 5e6 < before < 1e10
    held = bytearray(b"x" * 50_000_000)
    assert resident.bytes() - before > 40_000_000
    del held
