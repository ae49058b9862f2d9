"""The bytes of the spool: a segment's header, its frames, what stands in them, and what a crash leaves of them.

Decided here: the format, and which of a segment's bytes are good.  Not decided here: files, when they
are synced (segments.py), what is done with a record (spool.py).  crc32c and AES-GCM come in; numbers are big-endian.

    segment  header, 64 bytes | frame | frame | …
    header   magic 8 | first sequence 8 | salt 16 | key id 4 | zeros 24 | crc 4 of all before
    frame    magic 4 | length 4, of all of the frame | first sequence 8 | count 4 | partition 4 | oldest 8, ms
             | topic length 1 | topic | crc 4 of the segment's salt and all before
             | sealed body | crc 4 of the crc before and the sealed body
    body     msgpack: an array of [event id, key, body, timestamp in ms], `body` as core/recordbatch.py draws it

A frame holds the records of one partition out of one commit; a commit writes as many frames as it has
partitions and syncs them together.  So a partition is replayed without reading, let alone opening, what is
its neighbours', and damage costs one partition's share of a commit.  What stands in the open is a topic's name,
numbers and a time.

`sealed` is AES-GCM under the segment's key (keyed BLAKE2b of the salt), with its first sequence as nonce and all
of the head as associated data.  No sequence is given twice within a segment and no salt is drawn twice, so no
nonce is used twice.  The salt in the crc tells a frame from one that an earlier file left on the same blocks.
The segment's file name says the same as its header, so a header that is lost costs nothing.

What a crash can leave behind the last sync, and what is made of it:

    nothing of the frame, or a part of it             a gap up to the end: the torn tail, never acknowledged
    later blocks of it and not the earlier ones       the same
    zeros where the file grew and its blocks did not  the same
    a whole frame that nobody was told of             a record like others; sending it is allowed
    a bit that fell over, anywhere                    a gap of one frame: its head, while good, says where the next
                                                      begins; else the next good head is looked for, byte by byte
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple, Protocol

import msgspec

from gateway.core.event import Record

Crc = Callable[[bytes | memoryview], int]
Read = Callable[[int, int], bytes]
"""(offset, bytes) → so many bytes from there."""

_SEGMENT: Final = Struct(">8sQ16s4s24x")
_SEGMENT_MAGIC: Final = b"SLUICE\0\1"
_CRC: Final = Struct(">I")
HEADER_BYTES: Final = _SEGMENT.size + _CRC.size
SALT_BYTES: Final = 16
SECRET_BYTES: Final = 32

_HEAD: Final = Struct(">4sIQIIQB")
_FRAME_MAGIC: Final = b"\xf7\xa9SG"  # no text has it, and no msgpack that we write
_TAG_BYTES: Final = 16
_FRAME_BYTES_MIN: Final = _HEAD.size + 1 + _CRC.size + _TAG_BYTES + 1 + _CRC.size
_HEAD_BYTES_MAX: Final = _HEAD.size + 255 + _CRC.size
# An array of four with an id, a key, a body and a number, each as short as can be.
ENTRY_BYTES_MIN: Final = 7
# The array's one, the longest lengths msgpack has for a text (an id is ASCII) and two byte strings, and its longest number.
_ENTRY_FRAMING_BYTES: Final = 1 + 3 * 5 + 9
# How much of a segment is looked at at a time: recovering gigabytes takes no more memory than this.
_WINDOW_BYTES: Final = 1 << 20
_COPIED_BYTES_MAX: Final = 8_192


class Cipher(Protocol):
    """AES-GCM; `decrypt` raises ValueError where it is not what was sealed."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...


class Segment(NamedTuple):
    """What a segment's header says, and its name."""

    first: int  # no sequence in it is lower
    salt: bytes
    key_id: bytes


class Frame(NamedTuple):
    """A good frame, as its head tells; its body has its crc and was not opened."""

    place: int  # its offset in the segment
    length: int
    first: int
    records: int
    topic: str
    partition: int
    oldest_ms: int


class Gap(NamedTuple):
    """Bytes that are no good frame."""

    place: int
    length: int
    next_sequence: int  # none that may have stood there is this or higher


class BadFrameError(ValueError):
    """Not what was written."""


# A segment's key, header and name


def segment_key(secret: bytes, salt: bytes) -> bytes:
    """The AES-256 key of one segment."""
    return blake2b(salt, key=secret, digest_size=32, person=b"spool-segment").digest()


def key_id(secret: bytes) -> bytes:
    """What tells a secret from others and nothing about it."""
    return blake2b(key=secret, digest_size=4, person=b"spool-key-id").digest()


def segment_header(segment: Segment, crc32c: Crc) -> bytes:
    """The first bytes of a segment."""
    said = _SEGMENT.pack(_SEGMENT_MAGIC, *segment)
    return said + _CRC.pack(crc32c(said))


def segment_name(segment: Segment) -> str:
    """Its file's name; names sort as sequences do."""
    return f"{segment.first:016x}-{segment.salt.hex()}-{segment.key_id.hex()}.spool"


def read_segment(name: str, header: bytes, crc32c: Crc) -> Segment | None:
    """What a header says, else what the name says; None where neither is one of ours."""
    said, crc = header[: _SEGMENT.size], header[_SEGMENT.size : HEADER_BYTES]
    if len(crc) == _CRC.size and crc == _CRC.pack(crc32c(said)) and said.startswith(_SEGMENT_MAGIC):
        return Segment(*_SEGMENT.unpack(said)[1:])
    return _read_name(name)


def _read_name(name: str) -> Segment | None:
    try:
        first, salt, kid = name.removesuffix(".spool").split("-")
        segment = Segment(int(first, 16), bytes.fromhex(salt), bytes.fromhex(kid))
    except ValueError:
        return None
    return segment if segment_name(segment) == name else None


# Frames


def frame(topic: str, partition: int, first: int, records: Sequence[Record], salt: bytes, cipher: Cipher, crc32c: Crc) -> bytes:
    """The frame of at least one record; the first has the sequence `first`, the others follow."""
    body = _encode([(record.event_id, record.key, record.body, record.timestamp_ms) for record in records])
    name = topic.encode()
    length = _HEAD.size + len(name) + _CRC.size + len(body) + _TAG_BYTES + _CRC.size
    head = _HEAD.pack(_FRAME_MAGIC, length, first, len(records), partition, records[0].timestamp_ms, len(name)) + name
    checked = _CRC.pack(crc32c(salt + head)) + cipher.encrypt(_nonce(first), body, head)
    return head + checked + _CRC.pack(crc32c(checked))


def frame_bytes_max(topic: str, records: Sequence[Record]) -> int:
    """No less than what a frame of these takes."""
    return sum([len(one.event_id) + len(one.key) + len(one.body) + _ENTRY_FRAMING_BYTES for one in records]) + _FRAME_BYTES_MIN + len(topic) + 5


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes, bytes, int]]).decode


def _nonce(first: int) -> bytes:
    return first.to_bytes(12, "big")


def opened(frame_bytes: bytes, salt: bytes, cipher: Cipher, crc32c: Crc) -> tuple[Frame, list[Record]]:
    """A frame opened; what follows it is not looked at.

    Raises:
        BadFrameError: these bytes do not begin with one whole frame of that segment.
    """
    told = _head(frame_bytes, 0, salt, crc32c)
    if told is None or told.length > len(frame_bytes) or not _is_whole(frame_bytes, 0, told, crc32c):
        raise BadFrameError
    head_end = _HEAD.size + len(told.topic)
    sealed = frame_bytes[head_end + _CRC.size : told.length - _CRC.size]
    try:
        entries = _decode(cipher.decrypt(_nonce(told.first), sealed, frame_bytes[:head_end]))
    except ValueError as exc:  # msgspec.DecodeError is one
        raise BadFrameError from exc
    if len(entries) != told.records:
        raise BadFrameError
    return told, [Record(event_id, key, body, timestamp_ms) for event_id, key, body, timestamp_ms in entries]


def recover(read: Read, size: int, segment: Segment, crc32c: Crc) -> Iterator[Frame | Gap]:
    """All of a segment's bytes behind its header, in order: good frames, and the gaps between and behind them.

    Every step moves forward, so it ends; sequences only rise, so nothing is found twice.  Gaps with no frame behind
    them are the torn tail.

    Args: read: its bytes, `size` of them.
    """
    window = _Window(read, size)
    at, floor = HEADER_BYTES, segment.first
    while at < size:
        data, start = window.of(at, min(at + _FRAME_BYTES_MIN, size))
        for found in _good_run(data, start, at, floor, segment, crc32c):
            yield found
            at, floor = found.place + found.length, found.first + found.records
        if at == size:
            return
        # What stands here is not whole, or not wholly in what was read.
        one = _head_at(window, at, floor, segment, crc32c)
        if one is None:
            end = _next_head(window, at + 1, floor, segment, crc32c)
            yield Gap(at, end - at, floor + (end - at) // ENTRY_BYTES_MIN)
            at = end
            continue
        floor = one.first + one.records
        end = min(at + one.length, size)
        data, start = window.of(at, end)
        yield one if end - at == one.length and _is_whole(data, start, one, crc32c) else Gap(at, end - at, floor)
        at = end


def _good_run(data: bytes, start: int, at: int, floor: int, segment: Segment, crc32c: Crc) -> Iterator[Frame]:
    """The good frames that stand one behind the other in `data`, whole.  A gigabyte may hold two million: this is the loop that counts."""
    salt, segment_first = segment.salt, segment.first
    while True:
        found = _head(data, start, salt, crc32c, at)
        if found is None:
            return
        _, length, first, records, _, _, _ = found
        if first < floor or first - segment_first > at // ENTRY_BYTES_MIN or length > len(data) - start or not _is_whole(data, start, found, crc32c):
            return
        yield found
        floor = first + records
        start += length
        at += length


class _Window:
    """Some of the segment's bytes, read in large steps."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self._at = 0
        self._data = b""

    def of(self, start: int, end: int) -> tuple[bytes, int]:
        """Bytes that hold those from `start` to `end`, as far as there are any, and where in them `start` is."""
        if not self._at <= start <= end <= self._at + len(self._data):
            self._at = start
            self._data = b""  # let go before as much is read again
            self._data = self._read(start, min(max(end - start, _WINDOW_BYTES), self._size - start))
        return self._data, start - self._at

    def find(self, start: int) -> int:
        """Where the next frame may begin, from `start` on; the segment's end where none does."""
        while start + len(_FRAME_MAGIC) <= self._size:
            data, at = self.of(start, start + len(_FRAME_MAGIC))
            found = data.find(_FRAME_MAGIC, at)
            if found >= 0:
                return start + found - at
            start += max(len(data) - at - len(_FRAME_MAGIC) + 1, 1)
        return self._size


def _next_head(window: _Window, at: int, floor: int, segment: Segment, crc32c: Crc) -> int:
    """Where the next good head stands, from `at` on; the segment's end where there is none."""
    while (at := window.find(at)) < window._size and _head_at(window, at, floor, segment, crc32c) is None:  # noqa: SLF001 - its own
        at += 1
    return at


def _head_at(window: _Window, at: int, floor: int, segment: Segment, crc32c: Crc) -> Frame | None:
    data, start = window.of(at, min(at + _HEAD_BYTES_MAX, window._size))  # noqa: SLF001 - its own
    found = _head(data, start, segment.salt, crc32c, at)
    # A sequence takes bytes: one that is too high for its place would let us run out of them.
    if found is None or found.first < floor or found.first - segment.first > at // ENTRY_BYTES_MIN:
        return None
    return found


def _head(data: bytes, start: int, salt: bytes, crc32c: Crc, place: int = 0) -> Frame | None:
    """What a good head says.  Recovery asks this of a million of them, so it looks at nothing twice."""
    if len(data) - start < _FRAME_BYTES_MIN:
        return None
    magic, length, first, records, partition, oldest_ms, name_bytes = _HEAD.unpack_from(data, start)
    end = start + _HEAD.size + name_bytes
    if magic != _FRAME_MAGIC or data[end : end + _CRC.size] != _CRC.pack(crc32c(salt + data[start:end])):
        return None
    # Whoever wrote that crc wrote the rest too; but no memory is given away on a file's word.
    body_bytes = length - _HEAD.size - name_bytes - 2 * _CRC.size - _TAG_BYTES
    if not (0 < records <= body_bytes // ENTRY_BYTES_MIN):
        return None
    return Frame(place, length, first, records, _topic(data[start + _HEAD.size : end]), partition, oldest_ms)


@cache
def _topic(name: bytes) -> str:
    """One string for all of a topic's frames; a good crc came with it, so there are as many as topics.  A character a byte."""
    return name.decode("latin-1")


def _is_whole(data: bytes, start: int, told: Frame, crc32c: Crc) -> bool:
    end = start + told.length - _CRC.size
    begun = start + _HEAD.size + len(told.topic)
    # A slice is copied, which for a few records is the cheaper way; a view is not.
    checked = data[begun:end] if told.length < _COPIED_BYTES_MAX else memoryview(data)[begun:end]
    return data[end : end + _CRC.size] == _CRC.pack(crc32c(checked))
