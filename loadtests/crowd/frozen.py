"""A server that answers as the gateway does, and stands still for a while: what a generator is examined with.

    python -m loadtests.crowd.frozen --port 8090 [--freeze-after 10 --freeze-s 5]

It answers syncs and sign-ups with 202, and everything else with 404, at once.  While it is frozen it does nothing at all,
as a process that is stopped; connections wait in the kernel's queue.  It says READY, and ends with SIGTERM.
"""

import argparse
import asyncio
import functools
import sys
import time
from collections.abc import Callable
from typing import Final, cast

BACKLOG: Final = 4_096  # of connections nobody has accepted yet: those that come in a freeze
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"


class Answering(asyncio.Protocol):
    """One connection.  Requests have a Content-Length, or no body.  Args: begun: hears of each that comes."""

    def __init__(self, begun: Callable[[], None]) -> None:
        self._begun = begun
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._begun()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(_HEAD_END)) >= 0:
            head = self._received[:head_end]
            end = head_end + len(_HEAD_END) + length(head)
            if end > len(self._received):
                return
            self._transport.write(answer(head, self._received[head_end + len(_HEAD_END) : end]))
            self._received = self._received[end:]


def length(head: bytes) -> int:
    """Content-Length, or 0."""
    lowered = head.lower()
    begin = lowered.find(_LENGTH)
    return 0 if begin < 0 else int(lowered[begin + len(_LENGTH) :].partition(b"\r\n")[0])


def answer(head: bytes, body: bytes) -> bytes:
    """What the gateway would say."""
    status, content = b"404 Not Found", b'{"code":"not-found"}'
    if b"/v1/syncs " in head[:200]:
        status, content = b"202 Accepted", b'{"durability":"kafka","accepted":%d,"ack_through":0,"results":[]}' % body.count(b'"seq":')
    elif b"/v1/signups " in head[:200]:
        status, content = b"202 Accepted", b'{"durability":"kafka"}'
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content)


async def serve(port: int, freeze_after_s: float, freeze_s: float) -> None:
    """Until the process is ended."""
    loop = asyncio.get_running_loop()

    @functools.cache
    def first() -> None:
        loop.call_later(freeze_after_s, time.sleep, freeze_s)

    server = await loop.create_server(lambda: Answering(first), "127.0.0.1", port, backlog=BACKLOG)
    sys.stdout.write("READY\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Parse the command line, and serve."""
    parser = argparse.ArgumentParser(description="A server that answers at once, and freezes.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--freeze-after", type=float, default=0.0, help="seconds from the first connection on")
    parser.add_argument("--freeze-s", type=float, default=0.0)
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.port, chosen.freeze_after, chosen.freeze_s))


if __name__ == "__main__":
    main()
