"""The keys file: secrets of tokens, tickets and the spool, apart from the settings.

    { "tokens":  [ {"kid": "…", "alg": "HS256", "key": "…", "mint": "…"} ],
      "tickets": [ {"kid": "…", "key": "<base64url>"} ],
      "spool":   [ {"kid": "…", "key": "<base64url>"} ],
      "limits":  "<base64url>",
      "ops":     "<base64url>" }

A token key pins one algorithm.  `key` verifies: the secret in base64url for
HS256, a public key in PEM for RS256 and EdDSA.  `mint` signs development tokens
(`sluicegate token`): a private key in PEM; HS256 signs with `key` itself.
`limits` keys the hashes that name users and addresses in Redis, the same in all gateways
that share buckets.  A file without it uses its first ticket key, else its first HS256 key,
for that; a secret that changes gives everybody new buckets, so a supervisor keeps its first.
Receipts are signed with what follows from it: those given under another one are refused.
`ops` is the operators' token, sent as it stands here: who has it opens and shuts the waiting room.
Without it nobody may.  `spool` seals what waits on disk, newest first; a file without it leaves that to a key
of the data directory's own (spool/key.py).
"""

import base64
import os
import secrets
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.errors import ConfigError

_SECRET_BYTES_MIN = 32  # RFC 7518 section 3.2: an HS256 key is at least as long as its hash
_OPS_BYTES_MIN = 16  # as much as nobody tries; there is no other lock
_LIMITS_BYTES_MIN = 16  # who guesses it finds users by the hashes in Redis: 128 bits nobody tries


class TokenKey(Struct, frozen=True, forbid_unknown_fields=True):
    """One way to verify a bearer token."""

    kid: Annotated[str, Meta(min_length=1, max_length=64)]
    alg: Literal["HS256", "RS256", "EdDSA"]
    key: str
    mint: str = ""

    def __repr__(self) -> str:
        return f"TokenKey({self.kid}, {self.alg}, ***)"

    @property
    def verifying(self) -> str | bytes:
        return unbase64url(self.key) if self.alg == "HS256" else self.key

    @property
    def minting(self) -> str | bytes:
        return self.verifying if self.alg == "HS256" else self.mint


class SecretKey(Struct, frozen=True, forbid_unknown_fields=True):
    """A named symmetric key, base64url."""

    kid: Annotated[str, Meta(min_length=1, max_length=64)]
    key: str

    def __repr__(self) -> str:
        return f"SecretKey({self.kid}, ***)"


class Keys(Struct, frozen=True, forbid_unknown_fields=True):
    """All of the file.  Its repr shows names, never secrets."""

    tokens: tuple[TokenKey, ...]
    tickets: tuple[SecretKey, ...] = ()
    spool: tuple[SecretKey, ...] = ()
    limits: str = ""
    ops: str = ""

    def __repr__(self) -> str:
        return f"Keys({self.tokens}, {self.tickets}, {self.spool}, ***)"

    @property
    def of_workers(self) -> "Keys":
        """Without the operators' token: who parses what strangers send need not have it."""
        return msgspec.structs.replace(self, ops="")

    @property
    def limits_secret(self) -> bytes:
        """32 bytes that key the names of buckets."""
        return blake2b(self._limits_source.encode(), digest_size=32, person=b"limits").digest()

    @property
    def _limits_source(self) -> str:
        """What only we know; a public key is none.  Empty where there is nothing."""
        symmetric = [key.key for key in self.tokens if key.alg == "HS256"]
        return self.limits or next(iter([*(key.key for key in self.tickets), *symmetric]), "")


def unbase64url(text: str) -> bytes:
    """Decode base64url with or without padding.  Raises ValueError."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def load(path: Path) -> Keys:
    """Read and check the keys file.

    Raises:
        ConfigError: missing, unreadable, not of the form above, a kid used twice, a secret that is too short.
    """
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=Keys)
    except OSError as exc:
        raise ConfigError(f"keys file {path}: cannot be read: {exc.strerror} (`sluicegate keys` makes one for development)") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"keys file {path}: not UTF-8") from exc
    except msgspec.DecodeError as exc:
        # A ValidationError names a place and a type, never a value; a syntax error names an offset.
        raise ConfigError(f"keys file {path}: {exc}") from exc
    _check(keys.tokens, path)
    if not keys._limits_source:  # noqa: SLF001 - its own
        raise ConfigError(f"keys file {path}: want `limits`, a secret in base64url: without tickets and HS256 there is no other")
    if _length(keys._limits_source) < _LIMITS_BYTES_MIN:  # noqa: SLF001
        named = "limits" if keys.limits else f"tickets kid {keys.tickets[0].kid}, in place of `limits`"
        raise ConfigError(f"keys file {path}: {named}: want at least {_LIMITS_BYTES_MIN} bytes in base64url")
    if keys.ops and _length(keys.ops) < _OPS_BYTES_MIN:
        raise ConfigError(f"keys file {path}: ops: want at least {_OPS_BYTES_MIN} bytes in base64url")
    return keys


def _length(secret: str) -> int:
    """Bytes of a secret in base64url; 0 where it is none."""
    try:
        return len(unbase64url(secret))
    except ValueError:
        return 0


def _check(tokens: Sequence[TokenKey], path: Path) -> None:
    if not tokens:
        raise ConfigError(f"keys file {path}: want at least one key under `tokens`")
    kids = [key.kid for key in tokens]
    if len(set(kids)) != len(kids):
        raise ConfigError(f"keys file {path}: a kid under `tokens` is used twice")
    for key in tokens:
        if key.alg != "HS256":
            continue
        if _length(key.key) < _SECRET_BYTES_MIN:
            raise ConfigError(f"keys file {path}: tokens kid {key.kid}: want at least {_SECRET_BYTES_MIN} bytes in base64url")


def make(path: Path) -> bool:
    """Make a keys file for development, mode 0600, unless there is one.  True when it was made."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)

    def secret() -> str:
        return base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES_MIN)).rstrip(b"=").decode()

    keys = Keys(
        tokens=(TokenKey(kid="dev", alg="HS256", key=secret()),),
        tickets=(SecretKey(kid="1", key=secret()),),
        spool=(SecretKey(kid="1", key=secret()),),
        limits=secret(),
        ops=secret(),
    )
    # Written whole beside its name and renamed: a crash leaves no half key file behind.
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(keys), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    return True


def is_readable_by_others(path: Path) -> bool:
    """Whether group or world may read the secrets."""
    return bool(path.stat().st_mode & 0o077)
