"""What each process of the generator leaves, and how it is read back.  Pure but for the files.

    DIR/<process>/calls.bin     a CALL for each request, as it ends
    DIR/<process>/fates.bin     a FATE for each payload, when nobody will send it again
    DIR/<process>/people.json   what became of each applicant (benchmarks.people.Walked)
    DIR/<process>/process.json  Process

Instants are seconds of the rehearsal's clock (0: the first second of arrivals), of one machine-wide clock.  A call that
an arrival begins with is timed from the instant it was meant to start, whenever it did; every later one of that person
from the instant it was due.
"""

import uuid
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from benchmarks.people import Walked

CALL: Final = np.dtype(
    [
        ("stream", "u1"),  # of the scenario
        ("call", "u1"),  # Call
        ("status", "i2"),  # of HTTP, or NO_ANSWER, CUT
        ("tries", "u1"),  # 1: the first time that this payload or question is sent
        ("arrival", "u4"),  # its number within the rehearsal: the same for the same seed
        ("meant_s", "f8"),
        ("late_s", "f4"),  # of the generator: from meant to when it was taken up; nan: this call is no arrival
        ("sent_s", "f8"),  # its first byte
        ("done_s", "f8"),  # the last of its answer, or when the client gave up
    ]
)
NO_ANSWER: Final = 0  # within the client's patience
CUT: Final = -1  # the connection ended before the answer

FATE: Final = np.dtype([("stream", "u1"), ("arrival", "u4"), ("sample", "u1"), ("fate", "u1")])


class Call(IntEnum):
    """What was asked for."""

    SYNCS = 0
    SIGNUPS = 1
    TICKETS = 2
    PLACE = 3
    PASSES = 4


class Fate(IntEnum):
    """What the client was told of a payload, all its tries together."""

    ACCEPTED = 1  # 202 at least once
    REFUSED = 2  # always told that nothing happened
    UNKNOWN = 3  # neither: no answer, or one that says "outcome": "unknown"
    INVALID = 4  # refused for good


class Process(Struct, frozen=True):
    """How one process of the generator fared."""

    number: int
    meant: int  # arrivals that were its to send
    meant_sha256: str  # of all processes' instants together, as shapes.py has them: the same in each
    sent: int
    began_s: float  # of the epoch: the rehearsal's second 0
    cpu_share: float  # of one core, while arrivals came
    errors: list[str] = []  # of the harness itself


class Recording(Struct, frozen=True):
    """All processes together."""

    calls: np.ndarray  # of CALL, by meant_s
    fates: np.ndarray  # of FATE
    people: list[Walked]
    processes: list[Process]


def payload_id(run: int, arrival: int, sample: int) -> uuid.UUID:
    """A sample's `id`, an application's `signup_id`: it names who sent it.  A version 8 UUID (RFC 9562).

    Args:
        run: 32 bits, drawn for each rehearsal: what an older one left in Kafka is not ours.
    """
    return uuid.UUID(int=run << 96 | 8 << 76 | 2 << 62 | arrival << 8 | sample)


def of_payload(found: uuid.UUID) -> tuple[int, int, int]:
    """(run, arrival, sample)."""
    return found.int >> 96, found.int >> 8 & 0xFFFF_FFFF, found.int & 0xFF


def write(directory: Path, calls: np.ndarray, fates: np.ndarray, people: Sequence[Walked], process: Process) -> None:
    """One process's part, at its end."""
    directory.mkdir(parents=True, exist_ok=True)
    calls.astype(CALL).tofile(directory / "calls.bin")
    fates.astype(FATE).tofile(directory / "fates.bin")
    (directory / "people.json").write_bytes(msgspec.json.encode(people))
    (directory / "process.json").write_bytes(msgspec.json.encode(process))


def read(directories: Iterable[Path]) -> Recording:
    """All parts.

    Raises:
        OSError, msgspec.DecodeError, ValueError: a process did not get to its end.
    """
    parts = list(directories)
    if not parts:
        raise ValueError("no process of the generator left anything")
    calls = np.concatenate([np.fromfile(part / "calls.bin", CALL) for part in parts])
    fates = np.concatenate([np.fromfile(part / "fates.bin", FATE) for part in parts])
    people = [one for part in parts for one in msgspec.json.decode((part / "people.json").read_bytes(), type=list[Walked])]
    processes = [msgspec.json.decode((part / "process.json").read_bytes(), type=Process) for part in parts]
    return Recording(calls[np.argsort(calls["meant_s"], kind="stable")], fates, people, processes)
