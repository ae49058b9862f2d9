"""Which web pages may call us: those of the origins an operator names, and only the room's paths and sign-ups.

Without cookies: a page elsewhere carries ticket and pass in headers, as a phone does.
Source: the Fetch standard, "CORS protocol".
"""

from collections.abc import Sequence
from typing import Final

SHARED: Final = frozenset({"signups", "tickets", "place", "passes", "sign"})
"""Names of routes."""
_EXPOSED: Final = b"Access-Control-Expose-Headers: Location, Request-Id, Retry-After\r\n"
ALLOWED: Final = (
    ("Access-Control-Allow-Headers", "Content-Type, Content-Encoding, Waiting-Room-Ticket, Waiting-Room-Pass"),
    ("Access-Control-Max-Age", "600"),
)
"""Of the answer to a preflight."""


class Cors:
    """Args: origins: exactly as a browser sends them."""

    def __init__(self, origins: Sequence[str]) -> None:
        self.is_on = bool(origins)
        self._headers = {origin: b"Access-Control-Allow-Origin: %b\r\n%bVary: Origin\r\n" % (origin.encode(), _EXPOSED) for origin in origins}

    def headers(self, origin: str) -> bytes:
        """The lines for an answer to this origin; a stranger's browser is told nothing, and shows its page nothing."""
        return self._headers.get(origin, b"Vary: Origin\r\n")
