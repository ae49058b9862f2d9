"""What a client was told of one payload, all its tries together: the ledger's first column.  Pure.

A sample's fate is the highest of what was said of it: REFUSED < INVALID < UNKNOWN < ACCEPTED.  Once accepted stays
accepted; what may have happened (no answer, a 500, "outcome": "unknown") is unknown until a later try is accepted.
Source: docs/api.md, "Reading the answer".
"""

from typing import Final

import msgspec
from msgspec import Struct

from loadtests.crowd.sender import Answer
from loadtests.recording import Fate

_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})
_TOLD_NOTHING: Final = frozenset({500, 502, 504})  # after these nobody knows
_UNSEEN: Final = frozenset({401, 403, 408, 429})  # refused, though the payload may be a good one
_RANK: Final = {Fate.REFUSED: 0, Fate.INVALID: 1, Fate.UNKNOWN: 2, Fate.ACCEPTED: 3}


class _Entry(Struct):
    index: int
    status: str = ""
    code: str = ""


class _Receipt(Struct):
    results: list[_Entry] = []
    outcome: str = ""


_RECEIPT: Final = msgspec.json.Decoder(_Receipt)


class Told:
    """What a client was told of one payload, all its tries together."""

    def __init__(self, samples: int) -> None:
        self.fates = [Fate.REFUSED] * samples

    def heard(self, answer: Answer) -> bool:
        """Take an answer, or that there was none; whether the payload is to be sent again."""
        receipt = _receipt(answer.body)
        said = [_fate(answer.status, receipt)] * len(self.fates)
        is_again = answer.status <= 0 or answer.status in _AGAIN
        for entry in receipt.results:
            if entry.status != "duplicate" and entry.index < len(said):
                said[entry.index] = _fate_of(entry, answer.status, said[entry.index])
                is_again |= entry.status == "retry"
        self.fates = [max(fates, key=_RANK.__getitem__) for fates in zip(self.fates, said, strict=True)]
        return is_again


def _receipt(body: bytes) -> _Receipt:
    try:
        return _RECEIPT.decode(body)
    except msgspec.DecodeError:
        return _Receipt()  # another server's words


def _fate(status: int, receipt: _Receipt) -> Fate:
    """What an answer says of a sample that it does not list."""
    if 200 <= status < 300:
        return Fate.ACCEPTED
    if status <= 0 or status in _TOLD_NOTHING or receipt.outcome == "unknown":
        return Fate.UNKNOWN
    return Fate.REFUSED if status in _UNSEEN or status >= 500 else Fate.INVALID


def _fate_of(entry: _Entry, status: int, unlisted: Fate) -> Fate:
    if entry.status == "invalid":
        return Fate.INVALID
    if entry.code != "not-durable":
        return Fate.REFUSED  # withheld: never sent to Kafka
    # A 202 does not tell those that were never sent from those whose time was up on their way.
    return Fate.UNKNOWN if status == 202 else unlisted
