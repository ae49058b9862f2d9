"""Records as tests make and read them.  What reads them is the Kafka client's own parser."""

from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c

from gateway.core import recordbatch
from gateway.core.event import Record
from gateway.core.recordbatch import VARINT, header, sized

Header = tuple[str, bytes]


class Stored(NamedTuple):
    """One record as it stands in a log."""

    key: bytes
    value: bytes
    headers: tuple[Header, ...]
    timestamp_ms: int


def built(records: Sequence[Record]) -> bytes:
    """The batch of these records, as a producer of no name sends it."""
    return recordbatch.batch(records, -1, -1, -1, calc_crc32c)


def read(batch: bytes) -> list[Stored]:
    """What a consumer reads from a batch."""
    return [Stored(r.key, r.value, tuple(r.headers), r.timestamp) for r in DefaultRecordBatch(batch)]


def stored(record: Record) -> Stored:
    """What a consumer reads of one record."""
    [one] = read(built([record]))
    return one


def made(name: str, key: bytes = b"u1", value: bytes = b"{}", headers: Sequence[Header] = (), timestamp_ms: int = 0, size: int = 0) -> Record:
    """A record of any content; `size` where it shall take so many bytes of a batch, by padding."""
    begun = sized(key) + sized(value)
    body = begun + VARINT[len(headers)] + b"".join([header(*one) for one in headers])
    if size:
        assert not headers
        spare = size - recordbatch.FRAMING_BYTES_MAX - len(begun) - len(VARINT[1]) - len(sized(b"p"))
        padding = next(n for n in range(spare, -1, -1) if len(sized(bytes(n))) <= spare)
        body = begun + VARINT[1] + sized(b"p") + sized(bytes(padding))
    return Record(name, key, body, timestamp_ms)
