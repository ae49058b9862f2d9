"""`run`: one command beside the stack, and nothing left behind, however it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from devstack.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.devstack.conftest import CommandLine, PidsIn, Wait

# A command that says where it is and what it was given, and drains on SIGTERM.
_CHILD = """
import json, os, signal, sys
if sys.argv[1] == "drains":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
given = {name: value for name, value in os.environ.items() if name.startswith("GATEWAY")}
print(json.dumps({"pid": os.getpid(), "given": given}), flush=True)
while True:
    signal.pause()
"""


def _child(manner: str = "drains") -> tuple[str, ...]:
    return ("--", sys.executable, "-c", _CHILD, manner)


def _first_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the command to say that it is there."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    found: dict[str, Any] = json.loads(line)
    return found


def test_the_commands_code_is_ours(devstack: CommandLine, tmp_path: Path) -> None:
    """And a signal that ended it is 128 plus its number, as in a shell."""
    only_redis = ("run", "--no-kafka", "--data-dir", tmp_path, "--", "sh", "-c")
    assert devstack.do(*only_redis, "exit 7")[0] == 7
    assert devstack.do(*only_redis, "kill -9 $$")[0] == 128 + signal.SIGKILL


def test_a_command_that_does_not_exist_is_a_message(devstack: CommandLine, tmp_path: Path, pids_in: PidsIn) -> None:
    """Exit 1, no traceback, no server left."""
    code, _, err = devstack.do("run", "--no-kafka", "--data-dir", tmp_path, "--", "no-such-thing")
    assert code == 1
    assert "could not run no-such-thing" in err
    assert "Traceback" not in err
    assert pids_in(tmp_path) == []


def test_ctrl_c_ends_in_0_and_leaves_nothing(devstack: CommandLine, tmp_path: Path, pids_in: PidsIn) -> None:
    """The whole stack, and a command that drains on the SIGTERM it gets for our SIGINT."""
    process = devstack.start("run", "--data-dir", tmp_path, *_child())
    said = _first_line(process)
    assert sorted(said["given"]) == ["GATEWAY_KAFKA_BOOTSTRAP", "GATEWAY_REDIS_URL"]
    assert len(pids_in(tmp_path)) >= 3  # us and two servers at least
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (0, False), err
    assert pids_in(tmp_path) == []


def test_killed_with_9_it_takes_everything_along(devstack: CommandLine, tmp_path: Path, wait: Wait, pids_in: PidsIn) -> None:
    """Servers and command, though nobody is left to tell them."""
    process = devstack.start("run", "--data-dir", tmp_path, *_child("stays"))
    said = _first_line(process)
    others = [pid for pid in pids_in(tmp_path) if pid != process.pid]
    assert len(others) >= 2
    process.kill()
    wait.gone(said["pid"], *others)

    # And the data directory is at once good for another.  If somebody has taken the port
    # meanwhile, what Kafka advertises follows: the start waits for answers from there.
    old = said["given"]["GATEWAY_KAFKA_BOOTSTRAP"]
    with socket.create_server((HOST, int(old.rpartition(":")[2]))):
        print_address = ("--", "sh", "-c", "echo $GATEWAY_KAFKA_BOOTSTRAP")
        code, new, err = devstack.do("run", "--no-redis", "--data-dir", tmp_path, *print_address)
    assert code == 0, err
    assert new.strip() not in ("", old)


def test_a_killed_parent_takes_everything_along(tmp_path: Path, wait: Wait, pids_in: PidsIn) -> None:
    """As a `make run` that is killed: our parent is gone, so are we."""
    command = (
        f"{sys.executable} -m devstack run --no-kafka --data-dir {tmp_path} -- {sys.executable} -c 'import time; print(1, flush=True); time.sleep(600)'; true"
    )
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "1\n"
        others = [pid for pid in pids_in(tmp_path) if pid != shell.pid]
        assert len(others) >= 3
        shell.kill()
    wait.gone(*others)


def test_a_signal_during_the_start_ends_it(devstack: CommandLine, tmp_path: Path, wait: Wait, pids_in: PidsIn) -> None:
    """No command ran, so this is not a success."""
    process = devstack.start("run", "--data-dir", tmp_path, "--", "true")
    wait.until((tmp_path / "kafka" / "format.log").exists, "Kafka is being formatted")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (128 + signal.SIGINT, False), err
    wait.until(lambda: pids_in(tmp_path) == [], "nothing is left")


@pytest.mark.skipif(not hasattr(os, "tcsetpgrp"), reason="needs a terminal's job control")
def test_a_terminals_ctrl_c_does_not_reach_make(devstack: CommandLine, tmp_path: Path, environment: dict[str, str]) -> None:
    """The shell in front of us (as make would be) lives on and sees our 0."""
    run = devstack.command("run", "--no-kafka", "--data-dir", tmp_path, *_child())
    pid, terminal = pty.fork()
    if pid == 0:
        script = '"$@"; echo ended with $?'
        os.execvpe("sh", ["sh", "-c", script, "sh", *run], environment)
    heard = b""
    while b'"pid"' not in heard:
        heard += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    try:
        while chunk := os.read(terminal, 4096):
            heard += chunk
    except OSError:  # Linux says EIO when the last process has closed the terminal
        pass
    _, ended = os.waitpid(pid, 0)
    os.close(terminal)
    assert b"ended with 0" in heard, heard
    assert os.waitstatus_to_exitcode(ended) == 0
