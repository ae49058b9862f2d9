"""Who may look at the operators' port, and who may act.

    reading   bound to loopback: whoever reaches it under an address or as localhost; else the token or a session
    acting    the token (Authorization: Bearer), or a session; never from another site's page
    session   what the page gets for the token: a cookie it cannot read, good for twelve hours,
              worth nothing once the token is another one

A name in `Host` that is neither address nor localhost may be another site's that was pointed here (DNS rebinding):
then loopback alone opens nothing.  A browser says where a call comes from (Origin, Sec-Fetch-Site): from elsewhere
it is refused, whatever it carries.
"""

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Final

from aiohttp import web

from gateway.clock import Clock
from gateway.errors import ConfigError, Refusal

COOKIE: Final = "sluicegate-ops"
SESSION_S: Final = 43_200  # a shift
_SCHEME: Final = "bearer"
_CHALLENGE: Final = [("WWW-Authenticate", "Bearer")]
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+)(?::[0-9]{1,5})?")
_ELSEWHERE: Final = ("cross-site", "same-site")
_NOBODY: Final = "the keys file of this gateway has no `ops` token: nobody may"


def is_loopback(bind: str) -> bool:
    """Whether only this machine reaches it.  Args: bind: host:port."""
    return _is_local_name(bind.rpartition(":")[0])


def check_bind(bind: str, token: str) -> None:
    """Raises ConfigError: everybody could look, and nobody act."""
    if not token and not is_loopback(bind):
        raise ConfigError(f"ops.bind {bind}: others reach it: want `ops` in the keys file, the operators' token (`sluicegate keys` makes a file that has one)")


class Access:
    """What a request may do.

    Args:
        token: the one in force, as a reload may change it; "" lets nobody act.
    """

    def __init__(self, token: Callable[[], str], clock: Clock, *, is_open: bool) -> None:
        """Args: is_open: bound to loopback."""
        self._token = token
        self._clock = clock
        self._is_open = is_open

    def check_read(self, request: web.Request) -> None:
        """Raises Refusal where this one may not even look."""
        if not (self._is_open and _is_own_host(request.headers.get("Host", ""))):
            self.check(request)

    def check_act(self, request: web.Request) -> None:
        """Raises Refusal where this one may not act, or acts from another site's page."""
        check_site(request)
        self.check(request)

    def check(self, request: web.Request) -> None:
        """Raises Refusal without the token or a session."""
        if not self._token():
            raise Refusal("token-invalid", _NOBODY, headers=_CHALLENGE)
        if self._has_session(request):
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != _SCHEME or not given.strip():
            raise Refusal("token-missing", "want Authorization: Bearer with the operators' token", headers=_CHALLENGE)
        self.check_token(given.strip())

    def check_token(self, given: str) -> None:
        """Raises Refusal where this is not the operators' token."""
        token = self._token()
        if not token:
            raise Refusal("token-invalid", _NOBODY, headers=_CHALLENGE)
        # Bytes: of text only ASCII can be compared in constant time, and a header may hold anything.
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()):
            raise Refusal("token-invalid", "this is not the operators' token", headers=_CHALLENGE)

    def session(self) -> str:
        """A new one's cookie value: when it ends, and the proof that we said so."""
        ends_s = self._clock.now_us() // 1_000_000 + SESSION_S
        return f"{ends_s}.{self._proof(ends_s)}"

    def _has_session(self, request: web.Request) -> bool:
        ends, _, proof = request.cookies.get(COOKIE, "").partition(".")
        if not (ends.isascii() and ends.isdigit() and len(ends) <= 12) or int(ends) * 1_000_000 < self._clock.now_us():
            return False
        return hmac.compare_digest(proof.encode("utf-8", "surrogateescape"), self._proof(int(ends)).encode())

    def _proof(self, ends_s: int) -> str:
        return base64.urlsafe_b64encode(hashlib.blake2b(f"session:{ends_s}".encode(), key=self._token().encode()[:64], digest_size=24).digest()).decode()


def check_site(request: web.Request) -> None:
    """Raises Refusal where a browser says that another site's page makes this call."""
    origin = request.headers.get("Origin")
    is_foreign = origin is not None and origin.lower().partition("://")[2] != request.headers.get("Host", "").lower()
    if is_foreign or request.headers.get("Sec-Fetch-Site", "").lower() in _ELSEWHERE:
        raise Refusal("cross-site", "this call comes from another site's page")


def cookie(value: str, *, is_secure: bool) -> str:
    """The Set-Cookie of a session; an empty value ends it."""
    jar = SimpleCookie({COOKIE: value})
    morsel = jar[COOKIE]
    morsel["path"], morsel["httponly"], morsel["samesite"], morsel["max-age"] = "/", True, "Strict", SESSION_S if value else 0
    if is_secure:
        morsel["secure"] = True
    return morsel.OutputString()


def _is_own_host(host: str) -> bool:
    """Whether a `Host` header names this machine as only it can be meant: an address, or localhost."""
    named = _HOST.fullmatch(host)
    return named is not None and (_is_local_name(named[1]) or _is_address(named[1].strip("[]")))


def _is_local_name(name: str) -> bool:
    name = name.strip("[]").lower()
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
