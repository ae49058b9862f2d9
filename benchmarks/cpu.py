"""CPU and run-queue time of a process and all its descendants.  Linux only.

CPU time is read from each process's own CPU clock (clock_getcpuclockid(3): all its threads, ended
ones included, in nanoseconds).  /proc/<pid>/stat holds the same utime + stime in ticks of 10 ms,
which would be a per cent of a round and more.  Run-queue time is how long the main thread was
ready to run and another had the core (/proc/<pid>/schedstat); 0 on kernels without it.
"""

import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# linux/posix-timers_types.h: the clock of process p is (~p << 3) | CPUCLOCK_SCHED.
CPUCLOCK_SCHED = 2
# A gateway of a few workers; beyond this something forks without end.
PROCESSES_MAX = 1_000


class ProcessGoneError(RuntimeError):
    """A process whose CPU was being counted has ended."""


@dataclass(frozen=True)
class Spent:
    """What a process tree used between two readings, in nanoseconds."""

    cpu_ns: int
    root_cpu_ns: int  # the share of the root (the gateway's supervisor)
    waited_ns: int


@dataclass(frozen=True)
class Reading:
    """The clocks of every process of a tree at one moment: pid -> (CPU, waited)."""

    root: int
    clocks_ns: dict[int, tuple[int, int]]


def read(root: int) -> Reading:
    """Read the clocks of `root` and its descendants.

    Raises:
        ProcessGoneError: the root has ended.
    """
    clocks_ns = {}
    for pid in tree(root, parents()):
        try:
            clocks_ns[pid] = (cpu_ns(pid), waited_ns(pid))
        except OSError as error:
            # A short-lived child may end between the listing and here; the root may not.
            if pid == root:
                raise ProcessGoneError(f"process {root} has ended") from error
    return Reading(root, clocks_ns)


def spent(before: Reading, after: Reading) -> Spent:
    """Return what was used in between; a process that started in between counts in full.

    Raises:
        ProcessGoneError: one ended in between, and took its figures with it.
    """
    gone = before.clocks_ns.keys() - after.clocks_ns.keys()
    if gone:
        raise ProcessGoneError(f"processes {sorted(gone)} ended while they were being measured")
    used = {pid: (now[0] - then[0], now[1] - then[1]) for pid, now in after.clocks_ns.items() for then in [before.clocks_ns.get(pid, (0, 0))]}
    return Spent(
        cpu_ns=sum(cpu for cpu, _ in used.values()),
        root_cpu_ns=used[after.root][0],
        waited_ns=sum(waited for _, waited in used.values()),
    )


def tree(root: int, parent_of: dict[int, int]) -> list[int]:
    """Return `root` and its descendants."""
    found = [root]
    for pid in found:  # grows while it is walked: breadth first
        found += [child for child, parent in parent_of.items() if parent == pid]
        if len(found) > PROCESSES_MAX:
            raise ValueError(f"process {root} has over {PROCESSES_MAX} descendants")
    return found


def parents() -> dict[int, int]:
    """Return the parent of every process there is."""
    parent_of = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                pid, parent = parse_stat((entry / "stat").read_text())
            except OSError:
                continue  # it ended since it was listed
            parent_of[pid] = parent
    return parent_of


def parse_stat(line: str) -> tuple[int, int]:
    """Return pid and parent of a line of /proc/<pid>/stat.

    The second field is the program's name in parentheses and may hold blanks and parentheses
    itself, so the fields are counted from the last one.
    """
    pid, _, _ = line.partition(" ")
    after_name = line[line.rindex(")") + 1 :].split()
    return int(pid), int(after_name[1])


def cpu_ns(pid: int) -> int:
    """Return the CPU time of all threads of `pid`; OSError when there is no such process."""
    return time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)


def waited_ns(pid: int) -> int:
    """Return how long the main thread of `pid` was ready and did not run."""
    try:
        fields = (PROC / str(pid) / "schedstat").read_text().split()
    except FileNotFoundError:
        return 0
    return int(fields[1])
