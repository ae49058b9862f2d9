"""`sluicegate room show|set|pause|resume|close|open|undo <room>`: the operator's calls from a terminal.

Decided here: how a command becomes one request to the operators' port, and how its answer reads.  Not
decided here: what may be asked (core/act.py, on the other side); so a refusal is told in its words.

    show    GET, one `name: value` a line, for people and grep
    undo    GET for the version of the newest act, then POST that takes it back; one said in between is not hit
    others  POST; the same lines, as they are in force

Exit codes: 0 done, 1 refused, unreachable, or kept but not in force yet, 2 the command is wrong.  The
token goes to the address that was named and nowhere else: no proxy of the environment is asked, no redirect followed.
"""

import argparse
import http.client
import json
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from gateway import keys
from gateway.config import Config
from gateway.errors import ConfigError

_TIMEOUT_S: Final = 15.0  # a store that is away is given up within a few seconds, and then the answer comes
_ANSWER_BYTES_MAX: Final = 65_536
DONE, REFUSED, USAGE = 0, 1, 2


class Outcome(NamedTuple):
    """What to print, and the exit code."""

    code: int
    text: str


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Describe the command to the parser of the command line."""
    room = commands.add_parser("room", help="see a waiting room and say what it is to do")
    acts = room.add_subparsers(dest="act", required=True, metavar="show|set|pause|resume|close|open|undo")
    where = argparse.ArgumentParser(add_help=False, parents=[common])
    where.add_argument("room", help="the room's name, room.name in the settings")
    where.add_argument("--ops", metavar="URL", help="the operators' port, such as http://127.0.0.1:8081; else ops.bind of the settings")
    reason = argparse.ArgumentParser(add_help=False)
    reason.add_argument("--reason", required=True, help="why, for the audit")
    why = argparse.ArgumentParser(add_help=False, parents=[reason])
    why.add_argument("--message", help='what people in line read; "" takes it away')
    acts.add_parser("show", parents=[where], help="print how it stands")
    change = acts.add_parser("set", parents=[where, why], help="tell a rate or a message")
    # Suppressed: `follow` is None, so absent has to be absent.
    change.add_argument(
        "--rate", type=_rate, default=argparse.SUPPRESS, metavar="N|follow", help="people a second through the door; follow: as downstream takes"
    )
    acts.add_parser("pause", parents=[where, why], help="let nobody in; places are kept")
    acts.add_parser("resume", parents=[where, why], help="let people in again, who was next first")
    acts.add_parser("close", parents=[where, why], help="let nobody join and nobody in; places are kept")
    acts.add_parser("open", parents=[where, why], help="take people again; where it is paused too, that stays")
    acts.add_parser("undo", parents=[where, reason], help="take the last act back; undone twice it is done again")


def run(config: Config, arguments: argparse.Namespace) -> Outcome:
    """One command, from arguments to what is printed.

    Raises:
        ConfigError: no token, or no address to call.
    """
    fields = _fields(arguments)
    if fields is not None and fields.keys() <= {"reason"}:
        return Outcome(USAGE, "room set: want --rate or --message")
    url = arguments.ops or _address(config)
    token = keys.load(config.keys_path).ops
    if not token:
        raise ConfigError(f"keys file {config.keys_path}: want `ops`, the operators' token (`sluicegate keys` makes a file that has one)")
    try:
        status, answer = _call(url, arguments.room, token, fields)
        if arguments.act == "undo" and status == http.client.OK:
            fields = {"undo": answer.get("version"), "reason": arguments.reason}
            status, answer = _call(url, arguments.room, token, fields)
    except ValueError as exc:
        return Outcome(USAGE, f"--ops {url}: {exc}")
    except (OSError, http.client.HTTPException) as exc:
        return Outcome(REFUSED, f"{url}: {getattr(exc, 'strerror', None) or str(exc) or type(exc).__name__}: is the gateway running, and is this its ops port?")
    if status != http.client.OK:
        return Outcome(REFUSED, _refusal(status, answer))
    return Outcome(DONE, "\n".join(f"{name}: {_shown(value)}" for name, value in answer.items()))


def _rate(text: str) -> float | None:
    """`follow` is None.  Raises ValueError, which argparse tells."""
    if text == "follow":
        return None
    rate_per_s = float(text)
    if not 0 < rate_per_s < float("inf"):
        raise ValueError(text)
    return rate_per_s


# argparse names a type by this in its complaint.
_rate.__name__ = "rate"


def _fields(arguments: argparse.Namespace) -> dict[str, object] | None:
    """The body of the POST; None for a GET, with which an undo begins too."""
    if arguments.act in ("show", "undo"):
        return None
    fields: dict[str, object] = {"reason": arguments.reason}
    if arguments.act in ("pause", "resume"):
        fields["paused"] = arguments.act == "pause"
    elif arguments.act in ("close", "open"):
        fields["closed"] = arguments.act == "close"
    elif "rate" in arguments:
        fields["rate_per_s"] = arguments.rate
    if arguments.message is not None:
        fields["message"] = arguments.message
    return fields


def _address(config: Config) -> str:
    """Where a gateway with these settings is called from its own machine."""
    host, _, port = config.ops.bind.rpartition(":")
    if port == "0":
        raise ConfigError(f"ops.bind {config.ops.bind}: any port: want --ops with the address of its READY line")
    own = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - nothing is bound here; who listens everywhere listens there
    return f"http://{own.get(host, host)}:{port}"


def _call(url: str, room: str, token: str, fields: Mapping[str, object] | None) -> tuple[int, dict[str, object]]:
    """One request.  Raises ValueError for what is no address, OSError and HTTPException for what does not answer."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.username:
        raise ValueError("want an address such as http://127.0.0.1:8081")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_TIMEOUT_S)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = None if fields is None else json.dumps(fields).encode()
        connection.request("GET" if fields is None else "POST", f"/api/rooms/{quote(room, safe='')}", body, headers)
        answer = connection.getresponse()
        text = answer.read(_ANSWER_BYTES_MAX)
    finally:
        connection.close()
    try:
        members = json.loads(text)
    except ValueError:
        members = None
    return answer.status, members if isinstance(members, dict) else {}


def _refusal(status: int, answer: Mapping[str, object]) -> str:
    """One line: what, and what was wanted."""
    words = [f"{status} {answer.get('code', 'that is no gateway')}"]
    if detail := answer.get("detail"):
        words.append(str(detail))
    errors = answer.get("errors")
    if isinstance(errors, list):
        words += [f"{error.get('pointer') or 'the request'}: {error.get('detail')}" for error in errors if isinstance(error, dict)]
    return ": ".join(words[:2]) + "".join(f"; {word}" for word in words[2:])


def _shown(value: object) -> str:
    """As JSON says it, text as it is."""
    return value if isinstance(value, str) else json.dumps(value)
