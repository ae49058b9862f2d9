"""The command line: python -m devstack up | down | status | run -- COMMAND...

Only here is the environment read: GATEWAY_REDIS_URL and GATEWAY_KAFKA_BOOTSTRAP name
servers to use instead of our own.  Exit codes: 0 done, 1 failed (with a message), 3 from
`status` when not everything is up, 128 + N when signal N came before `run` had its command
running; otherwise `run` exits as its command did.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import background, foreground
from .errors import DevstackError
from .stack import Devstack, print_to_stderr
from .terminal import own_foreground

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DATA_DIR = Path("var/devstack")


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say and return the exit code."""
    arguments = _parser().parse_args(argv)
    # A refused connection is an answer here, not an error worth five lines.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return _dispatch(arguments)
    except DevstackError as error:
        print_to_stderr(str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _dispatch(arguments: argparse.Namespace) -> int:
    data_dir: Path = arguments.data_dir.absolute()
    if arguments.action == "up":
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
        return background.up(data_dir, _keeper_arguments(arguments, data_dir), print_to_stderr)
    if arguments.action == "down":
        return background.down(data_dir)
    if arguments.action == "status":
        return background.status(data_dir)
    if arguments.action == "keep":
        say = _report_to(arguments.report_fd)
        return asyncio.run(background.keep(_stack(arguments, say), arguments.report_fd))
    stack = _stack(arguments, print_to_stderr)
    with own_foreground():
        return asyncio.run(foreground.run(stack, arguments.command, print_to_stderr))


def _stack(arguments: argparse.Namespace, say: Callable[[str], None]) -> Devstack:
    return Devstack(
        arguments.data_dir,
        kafka=not arguments.no_kafka,
        redis=not arguments.no_redis,
        # Empty counts as not given, as `GATEWAY_REDIS_URL= make run` means it.
        redis_url=os.environ.get("GATEWAY_REDIS_URL") or None,
        kafka_bootstrap=os.environ.get("GATEWAY_KAFKA_BOOTSTRAP") or None,
        fast_stop=arguments.fast_stop,
        say=say,
    )


def _keeper_arguments(arguments: argparse.Namespace, data_dir: Path) -> list[str]:
    flags = {
        "--no-kafka": arguments.no_kafka,
        "--no-redis": arguments.no_redis,
        "--fast-stop": arguments.fast_stop,
    }
    return ["--data-dir", str(data_dir), *(flag for flag, is_set in flags.items() if is_set)]


def _report_to(fd: int) -> Callable[[str], None]:
    """Say to the `up` that waits for us; it is gone once it has heard "ready"."""

    def say(line: str) -> None:
        os.write(fd, f"say {line}\n".encode())

    return say


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devstack", description="A real Redis and a real Kafka, from wheels alone.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    helps = {
        "up": "start the servers in the background",
        "down": "stop them",
        "status": "show them; exit 3 unless all are up",
        "run": "start them, run a command beside them, stop them",
        "keep": None,  # what `up` starts; not for people, so not in the help
    }
    for name, text in helps.items():
        action = actions.add_parser(name) if text is None else actions.add_parser(name, help=text)
        action.add_argument("--data-dir", type=Path, default=_DATA_DIR, metavar="DIR")
        if name in ("up", "run", "keep"):
            action.add_argument("--no-kafka", action="store_true", help="only the Redis")
            action.add_argument("--no-redis", action="store_true", help="only the Kafka")
            action.add_argument("--fast-stop", action="store_true", help="end them with SIGKILL")
        if name == "keep":
            action.add_argument("--report-fd", type=int, required=True)
        if name == "run":
            action.add_argument("command", nargs="+", metavar="COMMAND")
    return parser


if __name__ == "__main__":
    sys.exit(main())
