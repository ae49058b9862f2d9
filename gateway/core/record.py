"""The bytes of the spool: a segment's header, its frames, what stands in them, and what a crash leaves of them.

Decided here: the format, and which of a segment's bytes are good.  Not decided here: files, when they
are synced (spool/segments.py), what is done with a record (spool/disk_spool.py).  AES-GCM comes in; numbers are big-endian.

    segment  header, 64 bytes | frame | frame | …
    header   magic 8 | first sequence 8 | salt 16 | key id 4 | zeros 24 | crc 4 of all before
    frame    magic 4 | length 4, of all of the frame | first sequence 8 | count 4 | oldest 8, ms
             | partition 4 | topic length 1 | topic | crc 4 | sealed body | crc 4
    body     msgpack: an array of [event id, key, body, timestamp in ms], `body` as core/recordbatch.py draws it

A frame holds the records of one partition out of one commit; a commit writes as many frames as it has
partitions and syncs them together.  So a partition is replayed without reading, let alone opening, what is
its neighbours', and damage costs one partition's share of a commit.  What stands in the open is a topic's name,
numbers and a time.

`sealed` is AES-GCM under the segment's key (keyed BLAKE2b of the salt), with its first sequence as nonce and all
of the head as associated data.  No sequence is given twice within a segment and no salt is drawn twice, so no
nonce is used twice.

A crc is zlib's crc32, in a frame of the segment's salt and all of the frame before it.  The salt tells a frame from one
that an earlier file left on the same blocks.  A good frame is known by its last crc alone, which is one pass over its
bytes: a gigabyte may hold two million.  The crc of its head is asked where that one is wrong: then it says where the
next frame begins.
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
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple, Protocol
from zlib import crc32

import msgspec

from gateway.core.event import Record

Read = Callable[[int, int], bytes]
"""(offset, bytes) → so many bytes from there."""

_SEGMENT: Final = Struct(">8sQ16s4s24x")
_SEGMENT_MAGIC: Final = b"SLUICE\0\1"
_CRC: Final = Struct(">I")
_CRC_BYTES: Final = 4
HEADER_BYTES: Final = _SEGMENT.size + _CRC_BYTES
SALT_BYTES: Final = 16
SECRET_BYTES: Final = 32

_HEAD: Final = Struct(">4sIQIQIB")
_LANE: Final = Struct(">IB")
_LANE_AT: Final = _HEAD.size - _LANE.size  # a lane's bytes end where the head's crc begins
_FRAME_MAGIC: Final = b"\xf7\xa9SG"  # no text has it, and no msgpack that we write
_TAG_BYTES: Final = 16
_FRAME_BYTES_MIN: Final = _HEAD.size + 1 + _CRC_BYTES + _TAG_BYTES + 1 + _CRC_BYTES
HEAD_BYTES_MAX: Final = _HEAD.size + 255 + _CRC_BYTES
# An array of four with an id, a key, a body and a number, each as short as can be.
ENTRY_BYTES_MIN: Final = 7
# The array's one, the longest lengths msgpack has for a text (an id is ASCII) and two byte strings, and its longest number.
_ENTRY_FRAMING_BYTES: Final = 1 + 3 * 5 + 9
# How much of a segment is looked at at a time: recovering gigabytes takes no more memory than this.
_WINDOW_BYTES: Final = 1 << 20


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
    """What a good head tells."""

    length: int
    first: int
    records: int
    topic: str
    partition: int
    oldest_ms: int


class Run(NamedTuple):
    """Good frames one behind the other, by columns; they were not opened."""

    places: list[int]  # their offsets in the segment
    firsts: list[int]
    records: list[int]
    lanes: list[bytes]  # as `lane_of` reads them
    oldest_ms: list[int]
    end: int  # where the last one ends


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


def segment_header(segment: Segment) -> bytes:
    """The first bytes of a segment."""
    said = _SEGMENT.pack(_SEGMENT_MAGIC, *segment)
    return said + _CRC.pack(crc32(said))


def segment_name(segment: Segment) -> str:
    """Its file's name; names sort as sequences do."""
    return f"{segment.first:016x}-{segment.salt.hex()}-{segment.key_id.hex()}.spool"


def read_segment(name: str, header: bytes) -> Segment | None:
    """What a header says, else what the name says; None where neither is one of ours."""
    said, crc = header[: _SEGMENT.size], header[_SEGMENT.size : HEADER_BYTES]
    if len(crc) == _CRC_BYTES and crc == _CRC.pack(crc32(said)) and said.startswith(_SEGMENT_MAGIC):
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


def frame(topic: str, partition: int, first: int, records: Sequence[Record], salt: bytes, cipher: Cipher) -> bytes:
    """The frame of at least one record; the first has the sequence `first`, the others follow."""
    body = _encode([(record.event_id, record.key, record.body, record.timestamp_ms) for record in records])
    name = topic.encode()
    length = _HEAD.size + len(name) + _CRC_BYTES + len(body) + _TAG_BYTES + _CRC_BYTES
    head = _HEAD.pack(_FRAME_MAGIC, length, first, len(records), records[0].timestamp_ms, partition, len(name)) + name
    head_crc, sealed = crc32(head, crc32(salt)), cipher.encrypt(_nonce(first), body, head)
    between = _CRC.pack(head_crc)
    # A crc goes on where it stood: nothing is put together twice for it.
    return b"".join((head, between, sealed, _CRC.pack(crc32(sealed, crc32(between, head_crc)))))


def frame_bytes_max(topic: str, records: Sequence[Record]) -> int:
    """No less than what a frame of these takes."""
    return sum([len(one.event_id) + len(one.key) + len(one.body) + _ENTRY_FRAMING_BYTES for one in records]) + _FRAME_BYTES_MIN + len(topic) + 5


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes, bytes, int]]).decode


def _nonce(first: int) -> bytes:
    return first.to_bytes(12, "big")


def frame_length(head: bytes, salt: bytes) -> int | None:
    """How long the frame is that these bytes begin with; None where its head is not good."""
    told = _head(head, 0, crc32(salt))
    return told and told.length


def opened(frame_bytes: bytes, salt: bytes, cipher: Cipher) -> tuple[Frame, list[Record]]:
    """A frame opened; what follows it is not looked at.

    Raises:
        BadFrameError: these bytes do not begin with one whole frame of that segment.
    """
    told = _head(frame_bytes, 0, crc32(salt))
    if told is None or told.length > len(frame_bytes):
        raise BadFrameError
    end = told.length - _CRC_BYTES
    if frame_bytes[end : told.length] != _CRC.pack(crc32(memoryview(frame_bytes)[:end], crc32(salt))):
        raise BadFrameError
    head_end = _HEAD.size + len(told.topic)
    try:
        entries = _decode(cipher.decrypt(_nonce(told.first), frame_bytes[head_end + _CRC_BYTES : end], frame_bytes[:head_end]))
    except ValueError as exc:  # msgspec.DecodeError is one
        raise BadFrameError from exc
    if len(entries) != told.records:
        raise BadFrameError
    return told, [Record(event_id, key, body, timestamp_ms) for event_id, key, body, timestamp_ms in entries]


def lane_of(lane: bytes) -> tuple[str, int]:
    """The topic and partition of a run's frame; a character of a topic is a byte."""
    partition, _ = _LANE.unpack_from(lane)
    return lane[_LANE.size :].decode("latin-1"), partition


def recover(read: Read, size: int, segment: Segment) -> Iterator[Run | Gap]:
    """All of a segment's bytes behind its header, in order: good frames, and the gaps between and behind them.

    Every step moves forward, so it ends; sequences only rise, so nothing is found twice.  Gaps with no frame behind
    them are the torn tail.

    Args: read: its bytes, `size` of them.
    """
    window = _Window(read, size)
    at, floor = HEADER_BYTES, segment.first
    while at < size:
        run = _good_run(*window.of(at, min(at + _FRAME_BYTES_MIN, size)), at, floor, segment)
        if run.places:
            yield run
            at, floor = run.end, run.firsts[-1] + run.records[-1]
            continue
        # What stands here is not whole, or not wholly in what was read.
        told = _head_at(window, at, floor, segment)
        if told is None:
            end = _next_head(window, at + 1, floor, segment)
            yield Gap(at, end - at, floor + (end - at) // ENTRY_BYTES_MIN)
        else:
            end = min(at + told.length, size)
            run = _good_run(*window.of(at, end), at, floor, segment)
            floor = told.first + told.records
            if run.places:
                yield run
                end, floor = run.end, run.firsts[-1] + run.records[-1]
            else:
                yield Gap(at, end - at, floor)
        at = end


def _good_run(data: bytes, start: int, at: int, floor: int, segment: Segment) -> Run:
    """The good frames that stand one behind the other in `data` from `start` on, whole.  A gigabyte may hold two million: this is the loop that counts."""
    places, firsts, counts, lanes, oldest = [], [], [], [], []
    view, salt_crc, shift, size = memoryview(data), crc32(segment.salt), at - start, len(data)
    head_at, crc_at = _HEAD.unpack_from, _CRC.unpack_from
    while size - start >= _FRAME_BYTES_MIN:
        magic, length, first, records, oldest_ms, _, name_bytes = head_at(data, start)
        end = start + length
        # Nothing that is read here is believed before the crc at the end, which stands where the length says.
        if (
            magic != _FRAME_MAGIC
            or first < floor
            or length < _FRAME_BYTES_MIN
            or end > size
            or crc_at(data, end - _CRC_BYTES)[0] != crc32(view[start : end - _CRC_BYTES], salt_crc)
        ):
            break
        if not _is_possible(start + shift, length, first, records, name_bytes, segment):
            break
        places.append(start + shift)
        firsts.append(first)
        counts.append(records)
        lanes.append(data[start + _LANE_AT : start + _HEAD.size + name_bytes])
        oldest.append(oldest_ms)
        start, floor = end, first + records
    return Run(places, firsts, counts, lanes, oldest, start + shift)


class _Window:
    """Some of the segment's bytes, read in large steps."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self.size = size
        self._at = 0
        self._data = b""

    def of(self, start: int, end: int) -> tuple[bytes, int]:
        """Bytes that hold those from `start` to `end`, as far as there are any, and where in them `start` is."""
        if not self._at <= start <= end <= self._at + len(self._data):
            self._at = start
            self._data = b""  # let go before as much is read again
            self._data = self._read(start, min(max(end - start, _WINDOW_BYTES), self.size - start))
        return self._data, start - self._at

    def find(self, start: int) -> int:
        """Where the next frame may begin, from `start` on; the segment's end where none does."""
        while start + len(_FRAME_MAGIC) <= self.size:
            data, at = self.of(start, start + len(_FRAME_MAGIC))
            found = data.find(_FRAME_MAGIC, at)
            if found >= 0:
                return start + found - at
            start += max(len(data) - at - len(_FRAME_MAGIC) + 1, 1)
        return self.size


def _next_head(window: _Window, at: int, floor: int, segment: Segment) -> int:
    """Where the next good head stands, from `at` on; the segment's end where there is none."""
    while (at := window.find(at)) < window.size and _head_at(window, at, floor, segment) is None:
        at += 1
    return at


def _head_at(window: _Window, at: int, floor: int, segment: Segment) -> Frame | None:
    told = _head(*window.of(at, min(at + HEAD_BYTES_MAX, window.size)), crc32(segment.salt))
    if told is None or told.first < floor or not _is_possible(at, told.length, told.first, told.records, len(told.topic), segment):
        return None
    return told


def _head(data: bytes, start: int, salt_crc: int) -> Frame | None:
    """What a good head says."""
    if len(data) - start < _FRAME_BYTES_MIN:
        return None
    magic, length, first, records, oldest_ms, partition, name_bytes = _HEAD.unpack_from(data, start)
    end = start + _HEAD.size + name_bytes
    if magic != _FRAME_MAGIC or data[end : end + _CRC_BYTES] != _CRC.pack(crc32(data[start:end], salt_crc)):
        return None
    return Frame(length, first, records, data[start + _HEAD.size : end].decode("latin-1"), partition, oldest_ms)


def _is_possible(at: int, length: int, first: int, records: int, name_bytes: int, segment: Segment) -> bool:
    """Records and sequences take bytes: no memory is given away on a file's word, and we run out of no numbers."""
    body_bytes = length - _HEAD.size - name_bytes - 2 * _CRC_BYTES - _TAG_BYTES
    return 0 < records <= body_bytes // ENTRY_BYTES_MIN and first - segment.first <= at // ENTRY_BYTES_MIN
