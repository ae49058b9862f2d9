"""The records in a spool's files, read by somebody who owns none of them: for the audit, also while the gateway runs.

Decided here: the order of looking.  Not decided here: the bytes (core/record.py), what a record is worth (audit/command.py).
Nothing is written and no lock is taken.  So what is found may have been in Kafka for long, its segment not yet
removed; a segment that vanishes meanwhile is one whose records are all in Kafka or in rejected/.  Segments are looked
at before rejected/, because that is the way a record goes.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from gateway.core import record as form
from gateway.core.event import Record
from gateway.disk import Disk, File
from gateway.errors import ConfigError
from gateway.spool.segments import Cipher

_SUFFIX: Final = ".spool"
_REJECTED: Final = "rejected"


class Held(NamedTuple):
    """One frame's records."""

    records: Sequence[Record]
    is_rejected: bool


class SpoolFiles:
    """All workers' directories."""

    def __init__(self, disk: Disk, path: Path, secrets: Sequence[bytes]) -> None:
        self._disk = disk
        self._path = path
        self._secrets = {form.key_id(secret): secret for secret in secrets}
        self.unreadable = 0  # frames, and gaps with frames behind them; what a worker is writing now is none

    def read(self) -> Iterator[Held]:
        """Each frame.  Raises ConfigError: a segment's key is not there."""
        directories = [self._path / name for name in sorted(self._disk.names(self._path))]
        for is_rejected in (False, True):
            for directory in directories:
                where = directory / _REJECTED if is_rejected else directory
                for name in sorted(name for name in self._disk.names(where) if name.endswith(_SUFFIX)):
                    yield from (Held(records, is_rejected) for records in self._segment(where / name))

    def _segment(self, path: Path) -> Iterator[Sequence[Record]]:
        try:
            file = self._disk.open(path)
        except FileNotFoundError:
            return  # done with, just now
        except OSError:
            self.unreadable += 1
            return
        try:
            yield from self._frames(path, file)
        except OSError:
            self.unreadable += 1
        finally:
            file.close()

    def _frames(self, path: Path, file: File) -> Iterator[Sequence[Record]]:
        segment = form.read_segment(path.name, file.read(0, form.HEADER_BYTES))
        if segment is None:
            return
        secret = self._secrets.get(segment.key_id)
        if secret is None:
            raise ConfigError(f"spool {path}: written with a key that is not there (key id {segment.key_id.hex()}): want it, to look inside")
        cipher, gaps = Cipher(form.segment_key(secret, segment.salt)), 0
        for found in form.recover(lambda offset, size: file.read(offset, size).ljust(size, b"\0"), max(file.size(), form.HEADER_BYTES), segment):
            if isinstance(found, form.Gap):
                gaps += 1
                continue
            self.unreadable, gaps = self.unreadable + gaps, 0
            for place, end in pairwise([*found.places, found.end]):
                try:
                    yield form.opened(file.read(place, end - place), segment.salt, cipher)[1]
                except form.BadFrameError:
                    self.unreadable += 1
