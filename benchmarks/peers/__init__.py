"""The servers this gateway is compared with; each is one file, one process, and says READY.

`python -m benchmarks.peers.<name> --port P [--kafka HOST:PORT] [--redis URL] [--jwt-secret HEX]`
They are written as their users would write them, not to lose: no access log, uvloop, keep-alive.
"""

import argparse
import asyncio
import ctypes
import signal
import sys

from aiohttp import web

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def arguments(doc: str | None) -> argparse.Namespace:
    """Parse the arguments every peer takes; a peer ignores those it has no use for."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kafka", default="127.0.0.1:9092", help="bootstrap host:port")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0", help="URL")
    parser.add_argument("--topic", default="syncs.v1")
    parser.add_argument("--jwt-secret", default="", help="hex of the HS256 key of the tokens")
    end_with_parent()
    return parser.parse_args()


def end_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the harness dies, however it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def listen(app: web.Application, port: int) -> None:
    """Serve an aiohttp application, say READY, and stay until the process is ended."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    say_ready()
    await asyncio.Event().wait()


def say_ready() -> None:
    """Tell the harness that connections are accepted from now on."""
    sys.stdout.write("READY\n")
    sys.stdout.flush()
