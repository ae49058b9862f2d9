"""Receipts: where what a 202 accepted is kept, as a text that only we can have made.

Pure: no clock, no I/O; the secret comes in.  Decided here: what such a text says and whether it is ours.  Not decided
here: where records went (lane.py), and what has become of them since (watermarks.py).

    byte  0      1           5               13               17        33
          | kind | partition | first offset  | further ones   | MAC     |      integers big-endian
          | kind | spool id                  | last sequence  | MAC     |
                 1                           9                17

    kind  0x20  in Kafka, topic of syncs        0x21  in Kafka, topic of sign-ups
          0x22  in a spool
          The high half is the version of this form; tickets are 0x10 to 0x13.
    offsets   the first record's, and how far behind it the last one stands; others' records may stand between.
              -1 where Kafka did not say: it had the batch already.
    MAC   BLAKE2b-16 of all before it, keyed by the secret of the limits and the label "receipt"
    text  base64url: 33 bytes are always 44 characters

One key, and not two as tickets have: it is that of the limits, which all machines that hear of each other share and
which stays, and a forged receipt would gain nobody more than the answer to it.
"""

import struct
from base64 import urlsafe_b64encode
from hmac import compare_digest
from typing import Final, Literal

from msgspec import Struct

from gateway.core.seal import keyed, unspelt

TEXT_CHARS: Final = 44

_MAC_BYTES: Final = 16
_IN_KAFKA: Final = struct.Struct(">BIqI")
_IN_SPOOL: Final = struct.Struct(">BQQ")
_KINDS: Final[dict[str, int]] = {"syncs": 0x20, "signups": 0x21}
_TOPICS: Final[dict[int, Literal["syncs", "signups"]]] = {0x20: "syncs", 0x21: "signups"}
_SPOOL: Final = 0x22
_FURTHER_MAX: Final = 2**32 - 1


class InKafka(Struct, frozen=True, gc=False):
    """Acknowledged by every in-sync copy."""

    kind: str  # "syncs" or "signups": whose topic
    partition: int
    first: int  # offset of the first record; -1: not known
    last: int


class InSpool(Struct, frozen=True, gc=False):
    """On the disk of a machine."""

    spool: int
    last: int  # the highest sequence of its records


Kept = InKafka | InSpool


class Receipts:
    """Makes and reads them.  Args: secret: of the limits."""

    def __init__(self, secret: bytes) -> None:
        self._seal = keyed(secret, b"receipt", _MAC_BYTES)

    def text(self, kept: Kept) -> bytes:
        """The receipt of what is kept there."""
        if isinstance(kept, InKafka):
            # A log that was cut, by an unclean election, counts anew: the end of a request may stand before its beginning.
            further = min(max(kept.last - kept.first, 0), _FURTHER_MAX)
            body = _IN_KAFKA.pack(_KINDS[kept.kind], kept.partition, kept.first, further)
        else:
            body = _IN_SPOOL.pack(_SPOOL, kept.spool, kept.last)
        return urlsafe_b64encode(body + self._mac(body))

    def read(self, text: str) -> Kept | None:
        """What it says; None for what is no receipt of ours."""
        sealed = unspelt(text, TEXT_CHARS)
        if sealed is None:
            return None
        body = sealed[:-_MAC_BYTES]
        if not compare_digest(self._mac(body), sealed[-_MAC_BYTES:]):
            return None
        if body[0] == _SPOOL:
            _, spool, last = _IN_SPOOL.unpack(body)
            return InSpool(spool, last)
        if body[0] not in _TOPICS:
            return None  # of a later version: it says something else
        kind, partition, first, further = _IN_KAFKA.unpack(body)
        return InKafka(_TOPICS[kind], partition, first, first + further)

    def _mac(self, body: bytes) -> bytes:
        state = self._seal.copy()
        state.update(body)
        return state.digest()
