"""`up`, `down`, `status`, and the keeper between them.

    up ── starts ──► keeper (python -m devstack keep, a session of its own)
     ◄── report ──     │ holds the stack: its lock, its lifelines
                       └─ writes DATA_DIR/state.json, removes it at the end

The report is a pipe: "say TEXT" lines, then "ready" or "failed TEXT".  A state file is
believed only while the data directory's lock is held by the keeper it names; after a crash
it is just a file, whatever process has been given that id since.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .errors import DevstackError, with_log_tail
from .kafka import Kafka
from .locks import holder_pid
from .processes import is_stopped
from .stack import lock_path
from .valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .server import Server
    from .stack import Devstack

# Kafka's grace of 20 s, and the rest of the keeper.
_DOWN_S = 40.0
_LOOK_EVERY_S = 0.05
_STATUS_ASK_S = 5.0


@dataclass(frozen=True)
class ServerState:
    """One server as the keeper last saw it; pid None = ended by itself, or not ours."""

    address: str
    pid: int | None
    is_ours: bool


@dataclass(frozen=True)
class State:
    """What state.json holds; no servers = the keeper is still starting them."""

    keeper_pid: int
    servers: dict[str, ServerState] = field(default_factory=dict)


def up(data_dir: Path, keeper_arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """Start a keeper unless one is there, and return when its stack answers.

    Raises:
        DevstackError: the stack could not be started.
    """
    state = read_state(data_dir)
    if state is not None and state.servers:
        print("already up")
        _print_addresses(state)
        return 0
    data_dir.mkdir(parents=True, exist_ok=True)
    log_path = data_dir / "keeper.log"
    keeper, report = _start_keeper(keeper_arguments, log_path)
    try:
        for line in report:
            kind, _, text = line.rstrip("\n").partition(" ")
            if kind == "ready":
                state = read_state(data_dir)
                assert state is not None
                _print_addresses(state)
                return 0
            if kind == "failed":
                raise DevstackError(text.replace("\0", "\n"))
            say(text)
    except KeyboardInterrupt:
        # The keeper has not seen the Ctrl-C, being in a session of its own.
        keeper.terminate()
        keeper.wait()
        raise
    raise DevstackError(with_log_tail(f"the keeper ended with {keeper.wait()}", log_path))


def down(data_dir: Path) -> int:
    """Stop the stack that `up` started, and wait; nothing to stop is fine.

    Raises:
        DevstackError: it did not end in time.
    """
    state = read_state(data_dir)
    if state is None:
        print("nothing is up")
        return 0
    with contextlib.suppress(ProcessLookupError):  # killed: its guards are at work
        os.kill(state.keeper_pid, signal.SIGTERM)
    deadline_s = time.monotonic() + _DOWN_S
    # The guards hold the lock as well, so that free means: the last server is gone.
    while holder_pid(lock_path(data_dir)) is not None:
        if time.monotonic() > deadline_s:
            raise DevstackError(f"process {state.keeper_pid} did not end in {_DOWN_S:.0f} s")
        time.sleep(_LOOK_EVERY_S)
    print("down")
    return 0


def status(data_dir: Path) -> int:
    """Print each server's state; 0 = all of them up, 3 = not."""
    state = read_state(data_dir)
    if state is None:
        print("down")
        return 3
    if not state.servers:
        print("starting")
        return 3
    words = {name: asyncio.run(_word(name, server)) for name, server in state.servers.items()}
    for name, word in words.items():
        print(f"{name:6} {word:13} {state.servers[name].address}")
    return 0 if set(words.values()) == {"up"} else 3


async def keep(stack: Devstack, report_fd: int) -> int:
    """Hold the stack until SIGTERM: the keeper's whole life.

    The report is written to `report_fd`, which is closed when the stack is ready.
    """
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    state_path = _state_path(stack.data_dir)
    _write_state(state_path, State(os.getpid()))
    try:
        async with stack:
            _write_state(state_path, _state_of(stack))
            os.write(report_fd, b"ready\n")
            os.close(report_fd)
            await _until_cancelled(stack, state_path)
    except asyncio.CancelledError:
        return 0
    except DevstackError as error:
        os.write(report_fd, f"failed {error}".replace("\n", "\0").encode() + b"\n")
        return 1
    finally:
        state_path.unlink(missing_ok=True)
    return 0


def read_state(data_dir: Path) -> State | None:
    """Read the state of a living keeper; None if there is none, whatever the file says."""
    try:
        found = json.loads(_state_path(data_dir).read_text())
        servers = {name: ServerState(**server) for name, server in found["servers"].items()}
        state = State(int(found["keeper_pid"]), servers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or not of this version: then nobody of ours wrote it
    return state if holder_pid(lock_path(data_dir)) == state.keeper_pid else None


def _start_keeper(arguments: Sequence[str], log_path: Path) -> tuple[subprocess.Popen[bytes], TextIO]:
    report_fd, keepers_end = os.pipe()
    with log_path.open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "devstack", "keep", "--report-fd", str(keepers_end), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(keepers_end,),
            start_new_session=True,
            # Where `-m devstack` finds the package even when it is not installed.
            cwd=Path(__file__).parents[1],
        )
    os.close(keepers_end)
    return keeper, os.fdopen(report_fd)


def _print_addresses(state: State) -> None:
    for name, server in state.servers.items():
        print(f"{name:6} {server.address}")


def _state_path(data_dir: Path) -> Path:
    return data_dir / "state.json"


def _write_state(path: Path, state: State) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place: a reader sees the old file or the new one, never half of it.
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(asdict(state), indent=2) + "\n")
    unfinished.replace(path)


def _state_of(stack: Devstack, ended: Sequence[Server] = ()) -> State:
    return State(
        os.getpid(),
        {
            server.name: ServerState(
                server.address,
                server.pid if server.is_ours and server not in ended else None,
                server.is_ours,
            )
            for server in stack.servers
        },
    )


async def _until_cancelled(stack: Devstack, state_path: Path) -> None:
    """Note in the state file which servers end by themselves; their ids may be reused."""
    ended: list[Server] = []

    async def note_end(server: Server) -> None:
        code = await server.wait_unasked_end()
        print(f"{server.name} ended by itself with code {code}", file=sys.stderr, flush=True)
        ended.append(server)
        _write_state(state_path, _state_of(stack, ended))

    async with asyncio.TaskGroup() as watches:
        for server in stack.servers:
            if server.is_ours:
                watches.create_task(note_end(server))
        await asyncio.Event().wait()


async def _word(name: str, server: ServerState) -> str:
    if server.is_ours and server.pid is None:
        return "down"
    if server.pid is not None and is_stopped(server.pid):
        return "paused"
    asked: Server = Kafka(server.address) if name == Kafka.name else Valkey(server.address)
    try:
        async with asyncio.timeout(_STATUS_ASK_S):
            await asked.ask()
    except Exception:  # noqa: BLE001 (whatever the client made of it: it did not answer)
        return "not answering"
    return "up"
