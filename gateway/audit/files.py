"""<data_dir>/audit: lines of the loss audit that Kafka may not have yet, and the name of the data directory.

Decided here: which files there are, and that each is there as a whole or not at all.  Not decided here: when a line
goes there and when it leaves (auditor.py).  All of it blocks, and raises OSError where the disk does not.  A file of
lines that cannot be read is told by its name, and holds up no other.

    home            16 hex digits, drawn once: names this data directory, in which the spool is, in its lines
    <name>.lines    lines as they are posted, in any order; the supervisor's are <µs>-<number>, an orphaned worker's <µs>-<its name>
    ….draft         is being written, or was when its writer was killed: the next supervisor removes those of lines
"""

import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from gateway.core import audit
from gateway.core.audit import Line
from gateway.disk import NOT_THE_DISKS, Disk, put_file

DIRECTORY: Final = "audit"
HOME_FILE: Final = "home"
_SUFFIX: Final = ".lines"
_DRAFT: Final = re.compile(r"([0-9]+)-.*\.lines\.draft")
_HOME: Final = re.compile("[0-9a-f]{16}")


def home_of(disk: Disk, data_dir: Path) -> str:
    """The name of this data directory; empty where it has none."""
    directory = data_dir / DIRECTORY
    if HOME_FILE not in disk.names(directory):
        return ""
    text = _read(disk, directory / HOME_FILE).decode("ascii", errors="replace").strip()
    return text if _HOME.fullmatch(text) else ""


def named_home(disk: Disk, data_dir: Path, drawn: str) -> str:
    """Its name, which is this one where it had none."""
    assert _HOME.fullmatch(drawn), drawn
    home = home_of(disk, data_dir)
    if not home:
        put_file(disk, data_dir / DIRECTORY, HOME_FILE, drawn.encode())
    return home or drawn


def put_lines(disk: Disk, data_dir: Path, name: str, lines: Sequence[Line]) -> Literal[True]:
    """Durable when this returns."""
    put_file(disk, data_dir / DIRECTORY, f"{name}{_SUFFIX}", b"".join([audit.encoded(line) + b"\n" for line in lines]))
    return True


class Found(NamedTuple):
    """What is in the directory."""

    lines: dict[str, list[Line]]  # by file
    unreadable: list[str]  # files


def lines_by_file(disk: Disk, data_dir: Path, known: Collection[str]) -> Found:
    """Of each file that is not known, what is a line."""
    found = Found({}, [])
    for name, values in _values(disk, data_dir, known):
        if values is None:
            found.unreadable.append(f"{name}{_SUFFIX}")
        else:
            found.lines[name] = [minute.line for value in values if (minute := audit.read(value)) is not None]
    return found


class Waiting(NamedTuple):
    """All that waits, for who only looks."""

    lines: list[bytes]  # as they are posted
    unreadable: list[str]  # files


def waiting_lines(disk: Disk, data_dir: Path) -> Waiting:
    """In all of the files."""
    waiting = Waiting([], [])
    for name, values in _values(disk, data_dir, ()):
        if values is None:
            waiting.unreadable.append(f"{name}{_SUFFIX}")
        else:
            waiting.lines.extend(value for value in values if audit.read(value) is not None)
    return waiting


def remove(disk: Disk, data_dir: Path, names: Collection[str]) -> Literal[True]:
    """All that is in these is posted."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(data_dir / DIRECTORY / f"{name}{_SUFFIX}")
    return True


def remove_drafts(disk: Disk, data_dir: Path, before_us: int) -> Literal[True]:
    """Of lines, and begun by writers that began before this: they are gone."""
    for name in disk.names(data_dir / DIRECTORY):
        if (draft := _DRAFT.fullmatch(name)) and int(draft[1]) < before_us:
            with contextlib.suppress(FileNotFoundError):
                disk.unlink(data_dir / DIRECTORY / name)
    return True


def _values(disk: Disk, data_dir: Path, known: Collection[str]) -> Iterator[tuple[str, list[bytes] | None]]:
    """By file; None: it cannot be read."""
    directory = data_dir / DIRECTORY
    names = sorted(name.removesuffix(_SUFFIX) for name in disk.names(directory) if name.endswith(_SUFFIX))
    for name in names:
        if name in known:
            continue
        try:
            values = _read(disk, directory / f"{name}{_SUFFIX}").splitlines()
        except FileNotFoundError:  # all of it was posted, just now
            continue
        except OSError as exc:
            if exc.errno in NOT_THE_DISKS:
                raise
            yield name, None
        else:
            yield name, values


def _read(disk: Disk, path: Path) -> bytes:
    file = disk.open(path)
    try:
        return file.read(0, file.size())
    finally:
        file.close()
