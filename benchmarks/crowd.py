"""The request bytes of the overload benchmark: many people behind one proxy, and three kinds of request.

Pure.  As traffic.py's, and from many members, because the bar of core/overload.py stands between
people: who is refused depends on the token (of a sign-up, on the address the proxy tells).
"""

import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from benchmarks import traffic

PROXIES: Final = "127.0.0.0/8"  # to be trusted, or all sign-ups come from one address
BACKFILL_DAYS: Final = 10
_ADDRESSES: Final = 254 * 254


def syncs(tokens: Sequence[str], now: datetime, *, days_ago: int = 0, samples: int = 1) -> list[bytes]:
    """One sync per member, recorded so many days ago."""
    then = now - timedelta(days=days_ago)
    return [post("/v1/syncs", traffic.body(member, 0, samples, then), member, token) for member, token in enumerate(tokens)]


def signups(count: int) -> list[bytes]:
    """That many applications, each from an address of its own."""
    return [post("/v1/signups", application(number), number) for number in range(count)]


def application(number: int) -> bytes:
    """One whole sign-up, in ASCII: its bytes stay those of earlier results."""
    filled = form(number, traffic.named_uuid(f"signup {number}"), f"Person {number}", "Mapo-gu")
    return json.dumps(filled, separators=(",", ":")).encode()


def form(number: int, signup_id: uuid.UUID, name: str, district: str) -> dict[str, Any]:
    """What one person fills in, with a telephone number of their own."""
    return {
        "signup_id": str(signup_id),
        "revision": 1,
        "name": name,
        "phone": f"+8210{number % 100_000_000:08}",
        "birth_date": "1960-05-17",
        "district": district,
        "device": {"platform": "android", "model": "SM-S921N"},
        "consents": {"terms": True, "health_data": True, "marketing": False},
    }


def post(path: str, content: bytes, person: int, token: str = "") -> bytes:
    """One request as the proxy hands it on."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: okhttp/4.12.0", f"X-Forwarded-For: {address(person)}"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


def address(person: int) -> str:
    """Where they are: in the network of RFC 2544, which is nobody's."""
    place = person % _ADDRESSES
    return f"198.18.{place // 254 + 1}.{place % 254 + 1}"
