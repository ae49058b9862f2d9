"""Kafka's record format 2: the bytes of a record, and of the batch around many.

Decided here: nothing; this is the format.  It is ours because a record here has nine
headers that hardly change: the client library writes each of them anew for every
record, which costs more than all else it does with it.  tests/core/test_recordbatch.py
holds these bytes equal to the library's own.

    batch    base offset 8 (0) | length 4, of all after it | leader epoch 4 (-1) | magic 1 (2) | crc32c 4, of all after it
             | attributes 2 (0) | last offset delta 4 | first timestamp 8 | largest timestamp 8 | producer id 8 | epoch 2
             | first sequence 4 | count 4 | records
    record   length, of all after it | attributes 1 (0) | timestamp delta | offset delta | body
    body     key length | key | value length | value | count of headers | (name length | name | text length | text) each

Lengths, deltas and the count are zigzag varints, the batch's numbers big-endian; timestamps
are ms.  A body depends on the event alone, so it is made once, when the event is.
Source: kafka.apache.org/documentation, "Record Batch".
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, Protocol

_UNCHECKED: Final = Struct(">qiibI")
_CHECKED: Final = Struct(">hiqqqhii")
_BEFORE_LENGTH_ENDS: Final = 12
HEADER_BYTES: Final = _UNCHECKED.size + _CHECKED.size
# Beside its body a record has its length (at most 5 bytes), attributes, and two deltas (10 and 5).
FRAMING_BYTES_MAX: Final = 21
FRAMING_ALONE_BYTES_MAX: Final = 8  # both deltas of the first are 0, a byte each


class Stamped(Protocol):
    """What a batch asks of its records."""

    @property
    def body(self) -> bytes: ...
    @property
    def timestamp_ms(self) -> int: ...


class _Varints(dict[int, bytes]):
    """`VARINT[n]` for every n of 64 bits; most lengths and deltas are remembered."""

    def __missing__(self, n: int) -> bytes:
        return _varint(n)


def _varint(n: int) -> bytes:
    """The nearer to 0 the shorter."""
    rest = (n << 1) ^ (n >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


VARINT: Final = _Varints({n: _varint(n) for n in range(4096)})


def sized(text: bytes) -> bytes:
    """A key, a value, or a header's name or text: its length and itself."""
    return VARINT[len(text)] + text


def header(name: str, text: bytes) -> bytes:
    """One header."""
    return sized(name.encode()) + sized(text)


def with_header(body: bytes, added: bytes) -> bytes:
    """The same body with one header more, as `header` makes it, behind the others."""
    at = 0
    for _ in ("key", "value"):
        length, at = _number(body, at)
        at += max(length, 0)  # -1: there is none
    count, rest = _number(body, at)
    return b"".join((body[:at], VARINT[count + 1], body[rest:], added))


def headers_of(body: bytes) -> dict[str, bytes]:
    """The headers of a body, by their names."""
    at = 0
    for _ in ("key", "value"):
        length, at = _number(body, at)
        at += max(length, 0)
    count, at = _number(body, at)
    headers = {}
    for _ in range(count):
        length, at = _number(body, at)
        name, at = body[at : at + length].decode(), at + length
        length, at = _number(body, at)
        headers[name], at = body[at : at + max(length, 0)], at + max(length, 0)
    return headers


def _number(body: bytes, at: int) -> tuple[int, int]:
    """The varint that begins there, and where it ends."""
    folded = shift = 0
    while body[at] > 0x7F:
        folded |= (body[at] & 0x7F) << shift
        shift += 7
        at += 1
    folded |= body[at] << shift
    return (folded >> 1) ^ -(folded & 1), at + 1


def batch(records: Sequence[Stamped], producer_id: int, producer_epoch: int, first_sequence: int, crc32c: Callable[[bytes], int]) -> bytes:
    """One batch of at least one record, as an idempotent producer sends it."""
    first_ms = records[0].timestamp_ms
    parts = [b""]  # the header, made last
    for delta, record in enumerate(records):
        body = record.body
        deltas = b"\0" + VARINT[record.timestamp_ms - first_ms] + VARINT[delta]
        parts += VARINT[len(deltas) + len(body)], deltas, body
    stamps = [record.timestamp_ms for record in records]
    parts[0] = _CHECKED.pack(0, len(records) - 1, first_ms, max(stamps), producer_id, producer_epoch, first_sequence, len(records))
    checked = b"".join(parts)
    return _UNCHECKED.pack(0, _UNCHECKED.size - _BEFORE_LENGTH_ENDS + len(checked), -1, 2, crc32c(checked)) + checked
