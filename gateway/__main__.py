"""The command line: `sluicegate` is `python -m gateway`.

    sluicegate [--config gateway.toml] [--dev]     run the gateway
    sluicegate check-config [--config …]           print what is in force, secrets masked
    sluicegate keys                                make a keys file for development
    sluicegate token --user u1                     mint a token for development
    sluicegate audit --from … [--to …]             prove that what was acknowledged is there: audit/command.py
    sluicegate room show|set|pause|resume|close|open|undo <room>   the waiting room of a gateway that runs: room_command.py

Exit codes: 0 stopped or done as asked, 1 stopped without finishing, or refused, 2 a setting, key, file or argument is wrong;
of the audit also 3 not everything could be judged (with --strict), 4 something is missing.
"""

import argparse
import asyncio
import importlib
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from gateway import config as configuration
from gateway import descriptors, identity, keys, logs, room_command
from gateway.audit import command as audit_command
from gateway.clock import SYSTEM
from gateway.config import Config
from gateway.disk import RealDisk
from gateway.errors import ConfigError

_CONFIG_HELP = "settings in TOML; gateway.toml shows every one with its default"


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "worker":
        return _worker(arguments.control)
    try:
        config = configuration.load(arguments.config)
        command = {"check-config": _check_config, "keys": _keys, "token": _token, "room": _room, "audit": _audit, None: _run}[arguments.command]
        return command(config, arguments)
    except ConfigError as exc:
        print(f"sluicegate: {exc}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    # Suppressed: else the command's own default would undo a --config given before it.
    common.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS, help=_CONFIG_HELP)
    parser = argparse.ArgumentParser(prog="sluicegate", description="A launch-day front door: HTTP in, durable Kafka records out.")
    parser.add_argument("--config", type=Path, metavar="FILE", help=_CONFIG_HELP)
    parser.add_argument("--dev", action="store_true", help="development: make a keys file, allow single copies, use a free port where one is taken")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("check-config", parents=[common], help="print the settings in force, secrets masked")
    commands.add_parser("keys", parents=[common], help="make a keys file for development, unless there is one")
    token = commands.add_parser("token", parents=[common], help="mint a bearer token for development")
    token.add_argument("--user", required=True, help="the user id: the token's `sub`")
    token.add_argument("--valid-s", type=int, default=86_400, help="seconds until it expires")
    room_command.add_to(commands, common)
    audit_command.add_to(commands, common)
    worker = commands.add_parser("worker")  # the supervisor starts these
    worker.add_argument("control", type=int)
    return parser


def _check_config(config: Config, _: argparse.Namespace) -> int:
    identity.check_keys(keys.load(config.keys_path).tokens) if config.keys_path.exists() else None
    print(configuration.masked(config))
    return 0


def _keys(config: Config, _: argparse.Namespace) -> int:
    path = config.keys_path
    print(f"{'made' if keys.make(path) else 'kept'} {path}", file=sys.stderr)
    return 0


def _token(config: Config, arguments: argparse.Namespace) -> int:
    secrets = keys.load(config.keys_path)
    print(identity.mint(secrets.tokens, config.identity, arguments.user, SYSTEM.now_us() / 1e6, arguments.valid_s))
    return 0


def _room(config: Config, arguments: argparse.Namespace) -> int:
    outcome = room_command.run(config, arguments)
    return _print(outcome.text, outcome.code, is_answer=outcome.code == room_command.DONE)


def _audit(config: Config, arguments: argparse.Namespace) -> int:
    logs.configure("audit")
    disk = RealDisk()
    try:
        outcome = asyncio.run(audit_command.run(config, arguments, disk, SYSTEM))
    finally:
        disk.close()
    return _print(outcome.text, outcome.code, is_answer=outcome.code in audit_command.ANSWERS)


def _print(text: str, code: int, *, is_answer: bool) -> int:
    print(text if is_answer else f"sluicegate: {text}", file=sys.stdout if is_answer else sys.stderr)
    return code


def _run(config: Config, arguments: argparse.Namespace) -> int:
    from gateway.supervisor import Supervisor  # noqa: PLC0415 - the small commands start faster without it

    logs.configure("supervisor")
    _require_c_extensions()
    if arguments.dev:
        config = _for_development(config)
    config = descriptors.secured(config)
    secrets = keys.load(config.keys_path)
    identity.check_keys(secrets.tokens)
    if keys.is_readable_by_others(config.keys_path):
        logs.warning("the keys file is readable by others", path=str(config.keys_path))
    _say_who_may(config, secrets)
    if arguments.dev and secrets.ops:
        print(f"operators' token, for this development stack: {secrets.ops}", file=sys.stderr)

    async def supervise() -> int:
        return await Supervisor(config, secrets, arguments.config).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(supervise())
        except ConfigError:
            raise
        except Exception as exc:  # noqa: BLE001 - the last door: frames without the text of what failed
            logs.error("the supervisor failed", exc=exc)
            return 1


def _say_who_may(config: Config, secrets: keys.Keys) -> None:
    """Where the operators' token is; never the token: logs are read by others than those who may."""
    if not config.room.name:
        return
    if secrets.ops:
        logs.info("operators' calls need the token `ops` of the keys file; `sluicegate room` reads it there", path=str(config.keys_path))
    else:
        logs.warning("the keys file has no `ops`: the operators' calls are refused to all", path=str(config.keys_path))


def _worker(control_fd: int) -> int:
    from gateway import worker  # noqa: PLC0415 - as above

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(worker.run(control_fd))


def _require_c_extensions() -> None:
    for module in ("aiohttp._http_parser", "aiohttp._http_writer", "aiokafka.record._crecords.default_records"):
        try:
            importlib.import_module(module)
        except ImportError as exc:
            raise ConfigError(f"{module} is missing: install the wheel with its C extension, without it this is several times slower") from exc


def _for_development(config: Config) -> Config:
    """What --dev changes; each is said aloud."""
    if keys.make(config.keys_path):
        logs.info("made a keys file", path=str(config.keys_path), mode="0600")
    else:
        logs.info("reusing the keys file", path=str(config.keys_path))
    if not config.deliver.allow_single_copy:
        logs.warning("single copies are allowed: a 202 promises one disk, not two")
        config = msgspec.structs.replace(config, deliver=msgspec.structs.replace(config.deliver, allow_single_copy=True))
    for section in ("http", "ops"):
        part = getattr(config, section)
        bind = _free(part.bind)
        if bind != part.bind:
            logs.warning("port taken, using a free one", wanted=part.bind, section=section)
            config = msgspec.structs.replace(config, **{section: msgspec.structs.replace(part, bind=bind)})
    return config


def _free(bind: str) -> str:
    """The address, with port 0 where its port is taken."""
    host, _, port = bind.rpartition(":")
    with socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError:
            return f"{host}:0"
    return bind


if __name__ == "__main__":
    sys.exit(main())
