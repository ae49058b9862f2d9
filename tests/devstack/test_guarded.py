"""Nothing under a guard outlives its owner, its guard or its own end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devstack.errors import StartFailed
from devstack.guarded import start_guarded

if TYPE_CHECKING:
    from tests.devstack.conftest import Wait

_STUBBORN = "trap '' TERM; echo ready; while :; do sleep 1; done"
_SLEEPER = ("sleep", "1000")


async def test_exit_codes_come_through() -> None:
    """Its own code, or minus the signal that ended it."""
    assert await (await start_guarded(("sh", "-c", "exit 7"), grace_s=1)).wait() == 7
    killed = await start_guarded(_SLEEPER, grace_s=1)
    killed.signal(signal.SIGKILL)
    assert await killed.wait() == -signal.SIGKILL
    assert killed.has_ended


async def test_a_command_that_does_not_exist_is_named() -> None:
    """The message has the command and the reason."""
    with pytest.raises(StartFailed, match=r"no-such-server.*No such file"):
        await start_guarded(("/no-such-server",), grace_s=1)


@pytest.mark.parametrize("grace_s", [0.2, 0.0])
async def test_one_that_ignores_sigterm_is_killed(tmp_path: Path, wait: Wait, grace_s: float) -> None:
    """After its grace, or at once when it has none."""
    with (tmp_path / "out").open("wb") as output:
        process = await start_guarded(("sh", "-c", _STUBBORN), grace_s=grace_s, output=output)
    wait.until((tmp_path / "out").read_bytes, "the trap is set")
    assert await process.stop() == -signal.SIGKILL


async def test_a_paused_one_ends_by_sigterm() -> None:
    """It is woken first: a stopped process would keep the signal pending for ever."""
    process = await start_guarded(_SLEEPER, grace_s=30)
    process.signal(signal.SIGSTOP)
    assert await process.stop() == -signal.SIGTERM


async def test_what_it_started_ends_with_it(tmp_path: Path, wait: Wait) -> None:
    """Workers of a supervisor that is gone do not stay."""
    with (tmp_path / "out").open("wb") as output:
        script = "sleep 1000 & echo $!"
        process = await start_guarded(("sh", "-c", script), grace_s=1, output=output)
    assert await process.wait() == 0
    wait.gone(int((tmp_path / "out").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
async def test_it_dies_with_its_guard(wait: Wait) -> None:
    """Somebody kills the guard with -9: the kernel kills the command."""
    process = await start_guarded(_SLEEPER, grace_s=1)
    # The id, the name in brackets, the state, then the parent's id.
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    guard_pid = int(stat.rpartition(")")[2].split()[1])
    os.kill(guard_pid, signal.SIGKILL)
    wait.gone(process.pid)
    assert await process.wait() == -signal.SIGKILL
