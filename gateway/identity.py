"""Who is it?  Bearer tokens: JSON Web Tokens, verified once and remembered.

Decided here: whether a token is good, and whose it is.  Cheap looks come first
(length, form, `kid`, the algorithm its key pins, `exp`), the signature last: an
HS256 check costs 80 µs, EdDSA 230 µs.  So a verified token is remembered under
a keyed hash of the *whole* token, never beyond its `exp` plus the leeway, in a
bounded cache that is emptied when the keys reload.  The token itself is not kept.
"""

import os
import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import jwt
import msgspec

from gateway.board import Slot
from gateway.config import Identity as Settings
from gateway.errors import ConfigError, Refusal
from gateway.keys import TokenKey, unbase64url

_AUTHENTICATE: Final = (("WWW-Authenticate", 'Bearer realm="sluicegate"'),)
_INVALID: Final = (("WWW-Authenticate", 'Bearer realm="sluicegate", error="invalid_token"'),)
_USER: Final = re.compile(r"[\x21-\x7e]{1,128}")  # the Kafka key: printable ASCII without spaces
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class Member(NamedTuple):
    """A verified person."""

    user: str
    key: bytes  # the user id as Kafka's key
    key_hash: int  # of `key`, as the partitioner wants it: dear to compute, so kept with the token
    expires_s: float  # wall time; the token is good before it


class _Header(msgspec.Struct):
    kid: str
    alg: str


class _Times(msgspec.Struct):
    """Of the claims: from when and until when the token is good, in seconds since the epoch."""

    exp: float
    nbf: float = 0.0


class Identity:
    """Verifies tokens against the keys file; one per worker."""

    def __init__(self, settings: Settings, keys: Sequence[TokenKey], key_hash: Callable[[bytes], int], slot: Slot) -> None:
        """Args: key_hash: the partitioner's hash of a record key."""
        self._settings = settings
        self._key_hash = key_hash
        self._cache: dict[bytes, Member] = {}
        self._hash = blake2b(digest_size=16, key=os.urandom(32))
        self._counts = slot.counters_by("sluicegate_tokens_total")
        self._cached = self._counts["cached"]
        self.reload(keys)

    def reload(self, keys: Sequence[TokenKey]) -> None:
        """Use these keys from now on and forget every token verified before."""
        self._keys = {key.kid: (key.alg, key.verifying) for key in keys}
        self._cache.clear()

    def member(self, authorization: str | None, now_s: float) -> Member:
        """The member behind an Authorization header at wall time `now_s`.

        Raises:
            Refusal: token-missing, token-invalid or token-expired, each with WWW-Authenticate.
        """
        if authorization is None or authorization[:7].lower() != "bearer ":
            raise Refusal("token-missing", "Authorization: Bearer <token> is required", headers=_AUTHENTICATE)
        token = authorization[7:].strip()
        hashed = self._hash.copy()
        hashed.update(token.encode("utf-8", "surrogateescape"))
        digest = hashed.digest()
        member = self._cache.get(digest)
        if member is not None and now_s < member.expires_s:
            self._cached.add()
            return member
        try:
            member = self._verify(token, now_s)
        except Refusal:
            self._counts["refused"].add()
            raise
        if len(self._cache) >= self._settings.cache_max:
            del self._cache[next(iter(self._cache))]  # the oldest; dicts keep insertion order
        self._cache[digest] = member
        self._counts["verified"].add()
        return member

    def _verify(self, token: str, now_s: float) -> Member:
        alg, key, times = self._look(token, now_s)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[alg],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                # Times have been looked at, by our clock and not by the library's.
                options={"require": ["exp", "iss", "aud", "sub"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as exc:
            raise _invalid(_WHY.get(type(exc), "not acceptable here")) from None
        user = claims["sub"]
        if not isinstance(user, str) or not _USER.fullmatch(user):
            raise _invalid("sub: want 1 to 128 printable ASCII characters")
        key_bytes = user.encode()
        return Member(user, key_bytes, self._key_hash(key_bytes), times.exp + self._settings.leeway_s)

    def _look(self, token: str, now_s: float) -> "tuple[str, str | bytes, _Times]":
        """The cheap looks, before any signature: algorithm and key to verify with, and how long the token is good."""
        if len(token) > self._settings.token_bytes_max or not _COMPACT.fullmatch(token):
            raise _invalid("want a compact JWT of at most identity.token_bytes_max bytes")
        header_part, claims_part, _ = token.split(".")
        try:
            header = msgspec.json.decode(unbase64url(header_part), type=_Header)
            times = msgspec.json.decode(unbase64url(claims_part), type=_Times)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise _invalid("header wants kid and alg, payload wants exp") from None
        alg, key = self._keys.get(header.kid, ("", b""))
        if not alg:
            raise _invalid("unknown kid")
        if header.alg != alg:
            raise _invalid("this kid's key pins another alg")
        if times.exp + self._settings.leeway_s <= now_s:
            raise _expired()
        if times.nbf - self._settings.leeway_s > now_s:
            raise _invalid("not valid yet")
        return alg, key, times


_WHY: Final[dict[type[Exception], str]] = {
    jwt.InvalidSignatureError: "wrong signature",
    jwt.InvalidAudienceError: "wrong aud",
    jwt.InvalidIssuerError: "wrong iss",
    jwt.MissingRequiredClaimError: "a claim is missing: want exp, iss, aud, sub",
}


def _invalid(why: str) -> Refusal:
    return Refusal("token-invalid", why, headers=_INVALID)


def _expired() -> Refusal:
    return Refusal("token-expired", "the token's exp has passed", headers=_INVALID)


def check_keys(keys: Sequence[TokenKey]) -> None:
    """Raises ConfigError where a key cannot be used with its algorithm, before a phone finds out."""
    for key in keys:
        try:
            jwt.get_algorithm_by_name(key.alg).prepare_key(key.verifying)
        except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError) as exc:
            raise ConfigError(f"keys file: tokens kid {key.kid}: not a key for {key.alg}") from exc


def mint(keys: Sequence[TokenKey], settings: Settings, user: str, now_s: float, valid_s: int) -> str:
    """A token for development, signed with the first key that can sign.

    Raises:
        ConfigError: no key in the file can sign, or `user` is not a possible one.
    """
    if not _USER.fullmatch(user):
        raise ConfigError("--user: want 1 to 128 printable ASCII characters without spaces")
    key = next((key for key in keys if key.minting), None)
    if key is None:
        raise ConfigError("no key in the keys file can sign: want an HS256 key or one with `mint`")
    claims = {"sub": user, "iss": settings.issuer, "aud": settings.audience, "iat": int(now_s), "exp": int(now_s) + valid_s}
    return jwt.encode(claims, key.minting, algorithm=key.alg, headers={"kid": key.kid})
