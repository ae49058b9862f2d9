r"""The request bytes every arm is sent: same headers, same token, same body, so same parsing.

Pure.  One connection is one member with one phone.  Requests are built before the run and cycled
through, because building them during it would measure the generator.

A traffic file, which a generator reads back, repeats:

    <decimal length of the request>\n<the request, headers and body>

in the order connection 0 request 0, connection 1 request 0, ... connection 0 request 1, ...
"""

import hashlib
import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime

# Enough that no cache of bodies could help, few enough to build in a moment.
REQUESTS_PER_CONNECTION = {1: 50, 50: 10}
LENGTH_DIGITS_MAX = 9


def requests(tokens: Sequence[str], events: int, now: datetime) -> list[bytes]:
    """Return the requests of all connections, in the order of a traffic file."""
    rounds = range(REQUESTS_PER_CONNECTION.get(events, 10))
    return [request(token, body(connection, number * events, events, now)) for number in rounds for connection, token in enumerate(tokens)]


def request(token: str, content: bytes) -> bytes:
    """Return one POST /v1/syncs as a phone sends it."""
    head = (
        "POST /v1/syncs HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        "User-Agent: okhttp/4.12.0\r\n"
        f"Authorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n"
        "\r\n"
    )
    return head.encode() + content


def body(connection: int, first_seq: int, events: int, now: datetime) -> bytes:
    """Return one sync of `events` samples with seq from `first_seq` + 1."""
    sync = {
        "device_id": str(named_uuid(f"device {connection}")),
        "platform": "android",
        "app_version": "2.3.1",
        "samples": [
            {
                "id": str(named_uuid(f"sample {connection} {seq}")),
                "seq": seq,
                "day": now.date().isoformat(),
                "steps": (connection * 131 + seq * 17) % 30_000,
                "recorded_at": now.isoformat(timespec="seconds"),
                "source": "watch",
            }
            for seq in range(first_seq + 1, first_seq + 1 + events)
        ],
    }
    # Without blanks, as phones' encoders write it.
    return json.dumps(sync, separators=(",", ":")).encode()


def named_uuid(name: str) -> uuid.UUID:
    """Return the same UUID for the same name, in every run."""
    return uuid.UUID(bytes=hashlib.blake2b(name.encode(), digest_size=16).digest(), version=4)


def framed(all_requests: Iterable[bytes]) -> bytes:
    """Return the content of a traffic file."""
    return b"".join(b"%d\n%b" % (len(one), one) for one in all_requests)


def unframed(content: bytes) -> list[bytes]:
    """Return the requests of a traffic file."""
    found, start = [], 0
    while start < len(content):
        line_end = content.index(b"\n", start, start + LENGTH_DIGITS_MAX + 1)
        end = line_end + 1 + int(content[start:line_end])
        if end > len(content):
            raise ValueError(f"traffic file ends at {len(content)}, inside a request to {end}")
        found.append(content[line_end + 1 : end])
        start = end
    return found
