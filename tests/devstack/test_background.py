"""`up`, `status`, `down`: a keeper in between, and a state file that is not believed blindly."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

from devstack.background import read_state

if TYPE_CHECKING:
    from pathlib import Path

    from tests.devstack.conftest import CommandLine, Wait


def _pids(data_dir: Path) -> list[int]:
    state = read_state(data_dir)
    assert state is not None
    servers = [server.pid for server in state.servers.values() if server.pid is not None]
    return [state.keeper_pid, *servers]


def test_up_status_down(devstack: CommandLine, tmp_path: Path, wait: Wait) -> None:
    """The whole stack, from nothing to nothing, each step twice."""
    where = ("--data-dir", tmp_path)
    assert devstack.do("status", *where)[:2] == (3, "down\n")
    code, addresses, err = devstack.do("up", *where)
    assert code == 0, err
    assert "kafka  127.0.0.1:" in addresses
    assert "redis  redis://127.0.0.1:" in addresses
    pids = _pids(tmp_path)
    assert len(pids) == 3
    assert devstack.do("up", *where)[:2] == (0, "already up\n" + addresses)
    assert _pids(tmp_path) == pids

    code, shown, _ = devstack.do("status", *where)
    assert code == 0
    assert shown.count(" up ") == 2
    os.kill(pids[2], signal.SIGSTOP)
    code, shown, _ = devstack.do("status", *where)
    assert (code, shown.count(" up "), shown.count(" paused ")) == (3, 1, 1)
    os.kill(pids[2], signal.SIGCONT)

    assert devstack.do("down", *where)[:2] == (0, "down\n")
    wait.gone(*pids)
    assert devstack.do("down", *where)[:2] == (0, "nothing is up\n")


def test_a_server_that_died_is_shown_and_not_looked_for_by_its_id(devstack: CommandLine, tmp_path: Path, wait: Wait) -> None:
    """The keeper forgets the id, which may be another process's by now."""
    where = ("--data-dir", tmp_path)
    assert devstack.do("up", "--no-kafka", *where)[0] == 0
    keeper, redis = _pids(tmp_path)
    os.kill(redis, signal.SIGKILL)
    wait.until(lambda: _pids(tmp_path) == [keeper], "the keeper has noticed")
    code, shown, _ = devstack.do("status", *where)
    assert (code, " down " in shown) == (3, True)
    assert devstack.do("down", *where)[0] == 0


def test_a_state_file_left_by_a_crash_is_not_believed(devstack: CommandLine, tmp_path: Path) -> None:
    """It names a living process (this one), which must not be signalled."""
    server = {"address": "redis://127.0.0.1:1/0", "pid": os.getpid(), "is_ours": True}
    left = {"keeper_pid": os.getpid(), "servers": {"redis": server}}
    (tmp_path / "state.json").write_text(json.dumps(left))
    (tmp_path / "lock").write_text(str(os.getpid()))
    where = ("--data-dir", tmp_path)
    assert devstack.do("status", *where)[:2] == (3, "down\n")
    assert devstack.do("down", *where)[:2] == (0, "nothing is up\n")
    code, out, _ = devstack.do("up", "--no-kafka", *where)
    assert (code, "already" in out) == (0, False)
    assert devstack.do("down", *where)[0] == 0


def test_a_killed_keeper_leaves_nothing(devstack: CommandLine, tmp_path: Path, wait: Wait) -> None:
    """And its directory can be used again at once."""
    where = ("--data-dir", tmp_path)
    assert devstack.do("up", "--no-kafka", *where)[0] == 0
    keeper, redis = _pids(tmp_path)
    os.kill(keeper, signal.SIGKILL)
    wait.gone(keeper, redis)
    assert devstack.do("up", "--no-kafka", *where)[0] == 0
    assert devstack.do("down", *where)[0] == 0


def test_up_beside_a_run_says_whose_directory_it_is(devstack: CommandLine, tmp_path: Path) -> None:
    """One directory, one stack; `down` does not end what `up` did not start."""
    where = ("--data-dir", tmp_path)
    running = devstack.start("run", "--no-kafka", *where, "--", "sh", "-c", "echo here; sleep 1000")
    assert running.stdout is not None
    assert running.stdout.readline() == "here\n"
    code, _, err = devstack.do("up", *where)
    assert (code, f"process {running.pid} runs a devstack in" in err) == (1, True)
    assert devstack.do("down", *where)[:2] == (0, "nothing is up\n")
    assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 128 + signal.SIGTERM
