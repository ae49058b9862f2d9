"""How the gateway under measurement is started: from this work tree, or from another commit.

The harness makes the keys file and signs the members' tokens itself, so that the same request
bytes fit two commits of the gateway and the naive peer alike.  Both commits run on this venv:
`--against` compares our code, not our dependencies.
"""

import base64
import hashlib
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt

from benchmarks.servers import Command, free_port

ROOT = Path(__file__).resolve().parent.parent
SECRET_BYTES = 32
KEY_ID = "bench"
# config.Identity's defaults.
ISSUER = AUDIENCE = "sluicegate"
TOKEN_LIFE_S = 6 * 3600  # longer than any run


@dataclass(frozen=True)
class Addresses:
    """Where the real servers are."""

    kafka: str
    redis: str


# What an arm that needs neither is told; nobody listens there.
NOWHERE = Addresses("127.0.0.1:9", "redis://127.0.0.1:9/0")


def new_secret() -> bytes:
    """Return the HS256 key of this run."""
    return secrets.token_bytes(SECRET_BYTES)


def tokens(secret: bytes, members: int, now_s: int) -> list[str]:
    """Return one signed token per member."""
    return [
        jwt.encode(
            {
                "sub": f"bench-{member}",
                "iss": ISSUER,
                "aud": AUDIENCE,
                "iat": now_s,
                "exp": now_s + TOKEN_LIFE_S,
            },
            secret,
            algorithm="HS256",
            headers={"kid": KEY_ID},
        )
        for member in range(members)
    ]


def keys_file(secret: bytes) -> bytes:
    """Return the content of gateway/keys.py's file for this secret."""

    def key(label: str) -> list[dict[str, str]]:
        derived = hashlib.blake2b(secret, person=label.encode(), digest_size=SECRET_BYTES).digest()
        return [{"kid": "1", "key": base64url(derived)}]

    signing = {"kid": KEY_ID, "alg": "HS256", "key": base64url(secret)}
    keys = {"tokens": [signing], "tickets": key("tickets"), "spool": key("spool")}
    return json.dumps(keys).encode()


def base64url(content: bytes) -> str:
    """Encode without padding, as the keys file wants it."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def is_there(root: Path = ROOT) -> bool:
    """Whether the tree at `root` has a gateway that can be started."""
    return (root / "gateway" / "__main__.py").is_file()


def command(root: Path, data_dir: Path, where: Addresses, secret: bytes) -> Command:
    """Return how to start the gateway of the tree at `root`, with a fresh data directory."""
    data_dir.mkdir(parents=True)
    keys = data_dir / "keys.json"
    keys.touch(mode=0o600)
    keys.write_bytes(keys_file(secret))
    port = free_port()
    argv = [sys.executable, "-m", "gateway"]
    settings = root / "benchmarks" / "gateway.toml"
    if settings.is_file():  # a commit from before the benchmarks has none
        argv += ["--config", str(settings)]
    environment = {
        "PYTHONPATH": str(root),
        "GATEWAY_PUBLIC_BIND": f"127.0.0.1:{port}",
        "GATEWAY_OPS_BIND": f"127.0.0.1:{free_port()}",
        "GATEWAY_KAFKA_BOOTSTRAP": where.kafka,
        "GATEWAY_REDIS_URL": where.redis,
        "GATEWAY_DATA_DIR": str(data_dir),
        "GATEWAY_KEYS_FILE": str(keys),
        "GATEWAY_WORKERS": "1",
        "GATEWAY_ALLOW_SINGLE_COPY": "1",
    }
    return Command(tuple(argv), port, root, environment)


def peer_command(module: str, where: Addresses, secret: bytes) -> Command:
    """Return how to start one of benchmarks/peers."""
    port = free_port()
    argv = [sys.executable, "-m", f"benchmarks.peers.{module}", "--port", str(port)]
    argv += ["--kafka", where.kafka, "--redis", where.redis, "--jwt-secret", secret.hex()]
    return Command(tuple(argv), port, ROOT)


@contextmanager
def worktree(commit: str, path: Path, repository: Path = ROOT) -> Iterator[Path]:
    """Check `commit` out beside the work tree, and take it away again.

    Raises:
        ValueError: git knows no such commit.
    """

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False)

    added = git("worktree", "add", "--detach", str(path), commit)
    if added.returncode:
        raise ValueError(f"--against {commit}: {added.stderr.strip()}")
    try:
        yield path
    finally:
        git("worktree", "remove", "--force", str(path))
