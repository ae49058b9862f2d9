"""What the operator said, on disk: the acts in force, and the list of all that was ever said.

    <data_dir>/room-<name>-<epoch>.acts.json    the newest acts and those before them, replaced whole
    <data_dir>/audit.jsonl                      one line an act, appended

The store forgets when it comes back empty; a pause that was said at six must hold at seven.  So acts are
fsynced here before the store hears of them.  A crash leaves the old file or the new one, and beside it at
most a draft that nobody reads; of the list at most its last line is cut.  Both are for their owner alone.

Written by the supervisor in its own loop: acts are rare, and the order of disk, list and store is the point.
"""

import contextlib
import os
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Self

import msgspec
from msgspec import Struct

from gateway import logs
from gateway.core.sign import Acts

_MODE = 0o600


class Kept(NamedTuple):
    """What is on disk."""

    acts: Acts = Acts()
    before: Acts | None = None  # what an undo goes back to; None: not known


class _Said(Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    paused: bool
    told_per_s: float | None
    message: str
    closed: bool = False  # files of an older version do not say so, nor what was before

    @classmethod
    def of(cls, acts: Acts) -> Self:
        return cls(acts.version, acts.is_paused, acts.told_per_s, acts.message, acts.is_closed)

    @property
    def acts(self) -> Acts:
        return Acts(self.version, self.paused, self.told_per_s, self.message, self.closed)


class _Form(_Said, frozen=True, forbid_unknown_fields=True):
    before: _Said | None = None


class ActsFile:
    """The acts of one room and epoch."""

    def __init__(self, directory: Path, stem: str) -> None:
        """Args: stem: names room and epoch."""
        self.path = directory / f"{stem}.acts.json"

    def load(self) -> Kept:
        """The newest; none where there is no file.

        A file that is not readable is said aloud and passed over: what the store remembers stands, and a gateway
        that does not start helps nobody.
        """
        try:
            form = msgspec.json.decode(self.path.read_bytes(), type=_Form)
        except FileNotFoundError:
            return Kept()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            logs.error("the operator's acts on disk are not readable: the store's stand", path=str(self.path), reason=type(exc).__name__)
            return Kept()
        return Kept(form.acts, form.before.acts if form.before is not None else None)

    def save(self, acts: Acts, before: Acts | None = None) -> None:
        """Replace the file; it is on disk when this returns.  Raises OSError."""
        form = msgspec.structs.replace(_Form.of(acts), before=_Said.of(before) if before is not None else None)
        draft = self.path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        _write(draft, os.O_EXCL, msgspec.json.format(msgspec.json.encode(form), indent=2) + b"\n")
        draft.replace(self.path)
        _sync_directory(self.path.parent)


_BLOCK_BYTES: Final = 65_536


class Audit:
    """The list of all acts, of all rooms."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "audit.jsonl"

    def append(self, entry: dict[str, object]) -> None:
        """One line more; it is on disk when this returns.  Raises OSError."""
        is_new = not self.path.exists()
        # A full disk may have cut the last line, and its end is missing: this one must not be lost with it.
        begin = b"" if is_new or _ends_its_line(self.path) else b"\n"
        _write(self.path, os.O_APPEND, begin + msgspec.json.encode(entry) + b"\n")
        if is_new:
            _sync_directory(self.path.parent)

    def last(self, count: int) -> list[dict[str, object]]:
        """The newest entries, the newest first; a line that a crash has cut is passed over.

        Reads no more than it needs, from the end: the list is never cut.  It takes a disk's time.
        """
        try:
            with self.path.open("rb") as file:
                tail = _tail(file, count)
        except FileNotFoundError:
            return []
        entries = []
        for line in reversed(tail.splitlines()):
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                entries.append(msgspec.json.decode(line, type=dict[str, object]))
            if len(entries) == count:
                break
        return entries


def _tail(file: BinaryIO, lines: int) -> bytes:
    """The last so many lines, and some more."""
    begin, tail = file.seek(0, os.SEEK_END), b""
    while begin and tail.count(b"\n") <= lines:
        size = min(_BLOCK_BYTES, begin)
        begin = file.seek(begin - size)
        tail = file.read(size) + tail
    return tail


def _ends_its_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
        return file.read() in (b"", b"\n")


def _write(path: Path, flag: int, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flag, _MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    """Else the name may be lost with the power, though the bytes are there."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
