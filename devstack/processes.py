"""What the system says about a process that is not our child."""

from __future__ import annotations

import subprocess
from pathlib import Path


def is_stopped(pid: int) -> bool:
    """True when every thread of the process is stopped (SIGSTOP), False when it is gone.

    Every thread: a JVM has a hundred, and SIGSTOP reaches them one after the other.
    """
    try:
        stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:  # no /proc (macOS), or it has ended, or one thread just has
        return _ps_says_stopped(pid)
    # "PID (NAME) STATE ...", where NAME may hold anything: split at the last bracket.
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def _ps_says_stopped(pid: int) -> bool:
    shown = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)],
        capture_output=True,
        check=False,
    )
    return shown.stdout.strip().startswith(b"T")
