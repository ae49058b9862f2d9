"""What the commands here have in common: how they end, what they say meanwhile, and which servers they may be given."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine

from benchmarks import load, servers
from benchmarks.cpu import ProcessGoneError
from devstack import DevstackError

EXIT_MISSED, EXIT_BROKEN, EXIT_GENERATOR = 1, 2, 3
BREAKAGES: tuple[type[Exception], ...] = (
    *(servers.ServerError, load.GeneratorError, ProcessGoneError),
    *(DevstackError, ValueError, OSError),
)


def run(work: Coroutine[None, None, int], breakages: tuple[type[Exception], ...] = BREAKAGES) -> int:
    """Do the work, and return the exit code."""
    try:
        return asyncio.run(until_terminated(work))
    except breakages as error:
        say(f"the harness broke: {error}")
    except (asyncio.CancelledError, KeyboardInterrupt):
        say("ended before there was anything to report")
    return EXIT_BROKEN


async def until_terminated(work: Coroutine[None, None, int]) -> int:
    """Let a SIGTERM or a terminal that is gone end what was started, as Ctrl-C does."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def say(words: str) -> None:
    """Tell whoever waits how far we are; the report itself goes to stdout."""
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


def parsed_with_servers(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, in which servers that run already may be named."""
    parser.add_argument("--kafka", default="", help="use this one instead of a devstack")
    parser.add_argument("--redis", default="", help="likewise; both or neither")
    chosen = parser.parse_args()
    if bool(chosen.kafka) != bool(chosen.redis):
        parser.error("--kafka and --redis: want both or neither")
    return chosen
