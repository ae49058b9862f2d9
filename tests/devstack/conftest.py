"""What the devstack's tests share: events to wait for, instead of sleeps."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[2]
# Every wait ends: generous, because two cores are shared with other people's tests.
PATIENCE_S = 60.0


class Wait:
    """Bounded waits for what other processes do."""

    def gone(self, *pids: int) -> None:
        """Return when every process has ended; fail if one does not."""
        deadline_s = time.monotonic() + PATIENCE_S
        for pid in pids:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                left_s = max(0.0, deadline_s - time.monotonic())
                ended, _, _ = select.select([fd], [], [], left_s)
            finally:
                os.close(fd)
            assert ended, f"process {pid} is still there after {PATIENCE_S} s"

    def until(self, claim: Callable[[], object], why: str) -> None:
        """Return when the claim holds: for files, which have no event to await."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not claim():
            assert time.monotonic() < deadline_s, f"never came true: {why}"
            time.sleep(0.01)


@pytest.fixture(scope="session")
def wait() -> Wait:
    """Give the waits."""
    return Wait()


PidsIn: TypeAlias = "Callable[[Path], list[int]]"


@pytest.fixture(scope="session")
def pids_in() -> PidsIn:
    """Find the processes that have a directory on their command line: servers and guards."""

    def find(data_dir: Path) -> list[int]:
        shown = subprocess.run(["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True)
        lines = [line.split(None, 1) for line in shown.stdout.splitlines()]
        return [int(pid) for pid, args in lines if str(data_dir) in args]

    return find


class CommandLine:
    """Runs `python -m devstack`, and ends what a failed test left running."""

    def __init__(self) -> None:
        """Start with nothing running."""
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start one, in a session of its own, its stdout and stderr in pipes."""
        return self.start_command(*self.command(*arguments))

    def start_command(self, *command: str) -> subprocess.Popen[str]:
        """Start something else in the same way, such as a program that owns a stack."""
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._running.append(process)
        return process

    def do(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Run one to its end: (exit code, stdout, stderr)."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    @staticmethod
    def command(*arguments: str | Path) -> list[str]:
        """Spell the command for those who start it in another way."""
        return [sys.executable, "-m", "devstack", *map(str, arguments)]

    def end(self) -> None:
        """Kill what still runs; the guards see to the rest."""
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def devstack() -> Iterator[CommandLine]:
    """Give the command line."""
    command_line = CommandLine()
    yield command_line
    command_line.end()


def clean_environment() -> dict[str, str]:
    """Copy the environment without what points at servers that somebody else runs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}


@pytest.fixture
def environment() -> dict[str, str]:
    """Give the environment that the command line gets."""
    return clean_environment()
