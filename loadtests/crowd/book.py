"""What one process of the generator writes down while it runs: rows of recording.CALL and FATE, packed into large chunks.

A row is packed into a bytearray by the struct that the dtype describes: 37 bytes, and half a microsecond, where a tuple
in a list takes 400 bytes and a numpy row a whole microsecond.  A million calls are 37 MB.
"""

import struct
from typing import Any, Final

import numpy as np

from loadtests.recording import CALL, FATE, Fate

_CHARACTERS: Final = {"u1": "B", "i2": "h", "u4": "I", "f4": "f", "f8": "d"}
_CHUNK_ROWS: Final = 65_536


def form(dtype: np.dtype[Any]) -> struct.Struct:
    """The struct of a packed dtype."""
    assert dtype.names is not None, dtype
    packer = struct.Struct("<" + "".join(_CHARACTERS[dtype[name].str[1:]] for name in dtype.names))
    assert packer.size == dtype.itemsize, dtype
    return packer


class Rows:
    """Rows of one dtype, as many as come."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._form = form(dtype)
        self._chunk_bytes = _CHUNK_ROWS * dtype.itemsize
        self._full: list[bytearray] = []
        self._chunk = bytearray(self._chunk_bytes)
        self._at = 0

    def __len__(self) -> int:
        return len(self._full) * _CHUNK_ROWS + self._at // self._dtype.itemsize

    def add(self, *fields: float) -> None:
        """One more row."""
        if self._at == self._chunk_bytes:
            self._full.append(self._chunk)
            self._chunk, self._at = bytearray(self._chunk_bytes), 0
        self._form.pack_into(self._chunk, self._at, *fields)
        self._at += self._form.size

    def since(self, row: int) -> np.ndarray:
        """A copy of the rows from this one on."""
        first = min(row // _CHUNK_ROWS, len(self._full))
        chunks = [*self._full[first:], self._chunk[: self._at]]
        joined = np.concatenate([np.frombuffer(bytes(chunk), self._dtype) for chunk in chunks])
        return joined[row - first * _CHUNK_ROWS :]


class Book:
    """One process's."""

    def __init__(self) -> None:
        self.calls, self.fates = Rows(CALL), Rows(FATE)
        self.by_fate = dict.fromkeys(Fate, 0)

    def fate(self, stream: int, arrival: int, sample: int, fate: Fate) -> None:
        """What became of a payload, when nobody will send it again."""
        self.fates.add(stream, arrival, sample, fate)
        self.by_fate[fate] += 1
