"""The head of a plain request, read off its bytes: enough to answer it before it is parsed.

Pure.  Decided here: which requests are so plain that their head holds nothing to object to.  Parsing one and
making objects of it costs more than refusing a sync does, and it is under overload that it would be thrown
away; it costs more than telling a place, which all in line do nothing but ask for; and joins come all at
once.  What is odd in any way goes to the parser as it came, and what the parser says of it is what counts.

    POST /v1/syncs HTTP/1.1               one Host, Authorization, Content-Type (JSON in UTF-8) and Content-Length,
    ...                                   at most one Content-Encoding (gzip), Connection (keep-alive) and of what else may
                                          be there once; none of Expect, Transfer-Encoding, Upgrade, Sec-WebSocket-Key1; any
                                          others of printable ASCII, on a line each
    <the whole body>                      and not a byte more

    POST /v1/rooms/.../tickets HTTP/1.1   likewise; at most one Authorization, Origin and X-Forwarded-For

    GET /v1/rooms/.../place HTTP/1.1      likewise; one Waiting-Room-Ticket, at most one Authorization and Origin; nothing
    ...                                   of a body

Source: RFC 9112.  tests/core/test_head.py holds it to the parser: what is plain here is no error there.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

# No more and no longer lines than the parser takes (parser.py); a sync's token may be longer, and is then parsed.
_LINES: Final = rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}+:[\t\x20-\x7e]{0,4096}+){1,64}+\r\n\r\n"
_NEVER: Final = b"Transfer-Encoding|Expect|Upgrade|Sec-WebSocket-Key1"  # the last is an error to the parser
# The parser refuses two of any of these, and accept.py two tokens.
_ONCE: Final = b"Host|Authorization|Connection|Content-Length|Content-Type|Content-Location|Content-Range|ETag|Max-Forwards|Server|User-Agent"
_JSON: Final = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_GZIP: Final = frozenset({None, b"gzip"})
_DIGITS_MAX: Final = 9


class _Plain(NamedTuple):
    """What is plain of one kind of request."""

    head: re.Pattern[bytes]
    telling: re.Pattern[bytes]  # lines that are looked at; each may be there once
    needed: frozenset[bytes]
    allowed: frozenset[bytes]


def _plain(first_line: bytes, *, needed: set[bytes], own: bytes = b"", never: bytes = _NEVER) -> _Plain:
    """Args: own: lines of this kind alone that may be there once."""
    once = b"|".join([_ONCE, own])
    telling = re.compile(rb"\r\n(" + b"|".join([once, never]) + rb"):[ \t]*([^\r]*)", re.IGNORECASE)
    return _Plain(re.compile(first_line + _LINES), telling, frozenset(needed), frozenset(once.lower().split(b"|")) - set(never.lower().split(b"|")))


_SYNC: Final = _plain(rb"POST /v1/syncs HTTP/1\.1", needed={b"host", b"authorization", b"content-type", b"content-length"}, own=b"Content-Encoding")
_JOIN: Final = _plain(
    rb"POST /v1/rooms/[a-z0-9-]++/tickets HTTP/1\.1",
    needed={b"host", b"content-type", b"content-length"},
    own=b"Content-Encoding|Origin|X-Forwarded-For",
)
_LOOK: Final = _plain(
    rb"GET /v1/rooms/[a-z0-9-]++/place HTTP/1\.1",
    needed={b"host", b"waiting-room-ticket"},
    own=b"Waiting-Room-Ticket|Origin",
    never=_NEVER + b"|Content-Length",
)


class PlainSync(NamedTuple):
    """What admission asks of it."""

    host: str
    authorization: str
    body_bytes: int
    is_gzip: bool


class PlainJoin(NamedTuple):
    """Somebody who wants a place."""

    host: str
    origin: str  # "": no web page of elsewhere asks
    forwarded: str  # "": nobody has forwarded it
    body: bytes
    is_gzip: bool


class PlainLook(NamedTuple):
    """A question for a place."""

    host: str
    origin: str
    ticket: str


def read_sync(segment: bytes) -> PlainSync | None:
    """The head of the one whole plain sync that `segment` is; None where it is anything else."""
    told, body_bytes = _read(_SYNC, segment)
    if told is None or not _has_come(told, body_bytes):
        return None
    return PlainSync(told[b"host"].decode(), told[b"authorization"].decode(), body_bytes, b"content-encoding" in told)


def read_join(segment: bytes) -> PlainJoin | None:
    """The one whole plain join that `segment` is; None where it is anything else."""
    told, body_bytes = _read(_JOIN, segment)
    if told is None or not _has_come(told, body_bytes):
        return None
    host, origin, forwarded = told[b"host"], told.get(b"origin", b""), told.get(b"x-forwarded-for", b"")
    body = segment[len(segment) - body_bytes :]
    return PlainJoin(host.decode(), origin.decode(), forwarded.decode(), body, b"content-encoding" in told)


def read_look(segment: bytes) -> PlainLook | None:
    """The one plain question for a place that `segment` is; None where it is anything else."""
    told, body_bytes = _read(_LOOK, segment)
    if told is None or body_bytes:
        return None
    return PlainLook(told[b"host"].decode(), told.get(b"origin", b"").decode(), told[b"waiting-room-ticket"].decode())


def _read(kind: _Plain, segment: bytes) -> tuple[Mapping[bytes, bytes] | None, int]:
    """Its telling lines, and how much follows its head; no lines where one is missing, there twice or not to be there."""
    head = kind.head.match(segment)
    if head is None:
        return None, 0
    found = kind.telling.findall(segment, 0, head.end())
    told = {name.lower(): value.rstrip(b" \t") for name, value in found}
    is_odd = len(told) != len(found) or not kind.needed <= told.keys() <= kind.allowed or told.get(b"connection", b"keep-alive").lower() != b"keep-alive"
    return None if is_odd else told, len(segment) - head.end()


def _has_come(told: Mapping[bytes, bytes], body_bytes: int) -> bool:
    """Whether a body so long is the one that is told, and one we read."""
    length = told[b"content-length"]
    if not length.isdigit() or len(length) > _DIGITS_MAX or int(length) != body_bytes:
        return False
    return told[b"content-type"].lower() in _JSON and told.get(b"content-encoding") in _GZIP
