"""The head of a plain sync, read off its bytes: enough to refuse it before it is parsed.

Pure.  Decided here: which requests are so plain that nothing but overload can be said of their
head.  Parsing a request and making objects of it costs more than refusing it does, and it is under
overload that it would be thrown away.  Nothing here lets anybody in: what is not refused, and what
is odd in any way, goes to the parser as it came, and what the parser says of it is what counts.

    POST /v1/syncs HTTP/1.1    one Host, Authorization, Content-Type (JSON in UTF-8) and Content-Length,
    ...                        at most one Content-Encoding (gzip) and Connection (keep-alive); none of Expect,
                               Transfer-Encoding, Upgrade; any others of printable ASCII, on a line each
    <the whole body>           and not a byte more

Source: RFC 9112.  tests/core/test_head.py holds it to the parser: what is plain here is no error there.
"""

import re
from typing import Final, NamedTuple

_PLAIN: Final = re.compile(rb"POST /v1/syncs HTTP/1\.1(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e]*+)++\r\n\r\n")
_TELLING: Final = re.compile(
    rb"\r\n(Host|Authorization|Connection|Content-Type|Content-Length|Content-Encoding|Transfer-Encoding|Expect|Upgrade):[ \t]*([^\r]*)", re.IGNORECASE
)
_NEEDED: Final = frozenset({b"host", b"authorization", b"content-type", b"content-length"})
_JSON: Final = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_GZIP: Final = frozenset({None, b"gzip"})
_KEPT: Final = frozenset({None, b"keep-alive"})
_DIGITS_MAX: Final = 9


class PlainHead(NamedTuple):
    """What admission asks of it."""

    host: str
    authorization: str
    body_bytes: int
    is_gzip: bool


def read_plain(segment: bytes) -> PlainHead | None:
    """The head of the one whole plain sync that `segment` is; None where it is anything else."""
    head = _PLAIN.match(segment)
    if head is None:
        return None
    found = _TELLING.findall(segment, 0, head.end())
    told = {name.lower(): value.rstrip(b" \t") for name, value in found}
    encoding, connection = told.pop(b"content-encoding", None), told.pop(b"connection", None)
    if len(told) + (encoding is not None) + (connection is not None) != len(found) or told.keys() != _NEEDED:
        return None
    length = told[b"content-length"]
    if not length.isdigit() or len(length) > _DIGITS_MAX or head.end() + int(length) != len(segment):
        return None
    is_odd = told[b"content-type"].lower() not in _JSON or encoding not in _GZIP or (connection is not None and connection.lower() not in _KEPT)
    return None if is_odd else PlainHead(told[b"host"].decode(), told[b"authorization"].decode(), int(length), encoding is not None)
