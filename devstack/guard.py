"""The guard: a small process that runs one server and never outlives its owner by much.

Run as a file, by path:  python -I -S guard.py LIFELINE_FD GRACE_S COMMAND...
(not with -m: importing the package would cost each guard 40 MB and half a second).

    owner ══ lifeline (a socket pair) ══ guard ──► server, in a session of its own

The lifeline carries one line up when the server has started ("started PID" or "failed
WHY") and one when it has ended ("ended CODE", negative = the signal).  Downwards it
carries nothing: its END is the message.  The kernel closes it when the owner is done, has
crashed or was killed with -9, so there is no way to leave a server behind.

    lifeline ends, or SIGTERM  →  SIGCONT, SIGTERM, GRACE_S seconds, SIGKILL, exit
    server ends                →  SIGKILL to what it left in its process group, exit
    guard killed with -9       →  Linux kills the server (PR_SET_PDEATHSIG); on other
                                  systems nobody does

GRACE_S 0 means SIGKILL at once.  The server inherits the guard's stdout, stderr and
environment; its stdin is /dev/null.  Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(argv: list[str]) -> None:
    """Run the command until it ends or the lifeline does."""
    lifeline = socket.socket(fileno=int(argv[1]))
    grace_s, command = float(argv[2]), argv[3:]
    alarms = _wake_on_signals()
    try:
        server = _start(command)
    except OSError as error:
        lifeline.sendall(f"failed {error}\n".encode())
        return
    _report(lifeline, f"started {server.pid}")
    _watch(server, lifeline, alarms)
    if server.poll() is None:
        _end(server, grace_s)
    # Workers of a dead supervisor: nothing of the group may stay.  The id cannot have been
    # reused yet: ids go round, and this one was given back microseconds ago.
    _signal_group(server, signal.SIGKILL)
    _report(lifeline, f"ended {server.returncode}")


def _wake_on_signals() -> socket.socket:
    """Turn signals into bytes on a socket, so that one select() sees everything."""
    alarms, bell = socket.socketpair()
    alarms.setblocking(False)
    bell.setblocking(False)
    signal.set_wakeup_fd(bell.detach())
    # Handlers that do nothing, rather than SIG_IGN, which the server would inherit.
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return alarms


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    guard_pid = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def die_with_guard() -> None:
        # Between fork and exec.  The usual danger of doing things here, another thread's
        # lock, cannot arise: the guard has one thread.
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard_pid:  # it died before prctl could know
            os._exit(1)

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_guard,  # noqa: PLW1509 (one thread, see above)
        start_new_session=True,
    )


def _watch(server: subprocess.Popen[bytes], lifeline: socket.socket, alarms: socket.socket) -> None:
    """Return when the server has ended, the lifeline has, or we were told to end."""
    with selectors.DefaultSelector() as selector:
        selector.register(lifeline, selectors.EVENT_READ)
        selector.register(alarms, selectors.EVENT_READ)
        while server.poll() is None:
            for key, _ in selector.select():
                if key.fileobj is lifeline:
                    return  # nothing is ever sent down: readable means closed
                if signal.SIGTERM in alarms.recv(64):
                    return


def _end(server: subprocess.Popen[bytes], grace_s: float) -> None:
    if grace_s > 0:
        # A paused server keeps its SIGTERM pending for ever: wake it first.
        _signal_group(server, signal.SIGCONT)
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=grace_s)
            return
    _signal_group(server, signal.SIGKILL)
    server.wait()


def _signal_group(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # macOS answers EPERM, not ESRCH, for a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, number)


def _report(lifeline: socket.socket, line: str) -> None:
    with contextlib.suppress(OSError):  # the owner is gone: nobody to tell
        lifeline.sendall(f"{line}\n".encode())


if __name__ == "__main__":
    main(sys.argv)
