"""A phone that signs up through the waiting room, and behaves: it asks as often as it is told, and never starts again.

    python examples/phone.py http://127.0.0.1:8080 signup --save /tmp/phone.json

Two parts: `Phone` decides, without a socket or a clock (what to send next, and how long to wait after an
answer); `main` is the socket around it.  Copy the first into an app, or drive a crowd of them (rehearsals do).

    join ─▶ look ─▶ … ─▶ knock ─▶ … ─▶ sign up ─▶ done
      ▲       │            │             │ pass-expired: knock again, the place is kept
      └───────┴────────────┴─────────────┘ ticket of another day: join anew

What it knows is kept after each answer, so it may be killed at any time: the ticket is the place.
"""

import argparse
import json
import random
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

PATIENCE_S: Final = 15.0  # for one answer: a knock is held for five seconds at most
BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)  # after no answer at all
RETRY_S: Final = 5.0  # where an answer that should name a time does not
_ANEW: Final = frozenset({"ticket-epoch", "ticket-room", "ticket-invalid", "ticket-revoked"})


@dataclass
class Known:
    """What outlives the app's process."""

    join_id: str
    application: dict[str, Any]
    ticket: str = ""
    pass_text: str = ""
    is_done: bool = False
    failed: str = ""  # what is wrong with the application, for good


@dataclass(frozen=True)
class Ask:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None


class Phone:
    """What to send next, and how long to wait after what was answered."""

    def __init__(self, room: str, known: Known) -> None:
        self.known = known
        self.state = "waiting"
        self.told: dict[str, Any] = {}  # the last place
        self._room = f"/v1/rooms/{room}"
        self._misses = 0

    @property
    def is_over(self) -> bool:
        """Signed up, or refused for good."""
        return self.known.is_done or bool(self.known.failed)

    @property
    def is_shut_out(self) -> bool:
        """The room is closed: what is to be done is to wait, and to say so."""
        return self.state == "closed" and not self.known.pass_text and not self.is_over

    def ask(self) -> Ask:
        """The next request."""
        known = self.known
        if known.pass_text:
            return Ask("POST", "/v1/signups", {"Waiting-Room-Pass": known.pass_text}, known.application)
        if not known.ticket:
            return Ask("POST", f"{self._room}/tickets", {}, {"join_id": known.join_id})
        ticket = {"Waiting-Room-Ticket": known.ticket}
        return Ask("POST", f"{self._room}/passes", ticket) if self.state == "called" else Ask("GET", f"{self._room}/place", ticket)

    def heard(self, status: int, headers: Mapping[str, str], body: Mapping[str, Any]) -> float:
        """Take an answer; returns how long to wait before the next request, in seconds."""
        self._misses = 0
        if status < 300:
            return self._took(body)
        code = str(body.get("code", ""))
        if code in _ANEW:
            # Another day's line.  Only then is a place given up.
            self.known.ticket, self.known.join_id, self.state = "", str(uuid.uuid4()), "waiting"
            return 0.0
        if code in ("pass-expired", "pass-invalid", "pass-required"):
            self.known.pass_text, self.state = "", "called"
            return 1.0  # where two clocks differ, the next pass may be refused just so
        if status >= 500 or status in (408, 429):  # a balancer's 502 and 504 too: the place is kept
            if not self.known.ticket:  # joins again, as the same person
                self.state = "closed" if code == "room-closed" else "waiting"
            self._place(body)
            return _retry_after_s(headers)
        self.known.failed = f"{status} {code}: {body.get('errors') or body.get('detail')}"
        return 0.0

    def missed(self) -> float:
        """No answer came; the same request again is safe.  Returns how long to wait, in seconds."""
        self._misses += 1
        return BACKOFF_S[min(self._misses, len(BACKOFF_S)) - 1] * random.uniform(0.5, 1.0)

    def _took(self, body: Mapping[str, Any]) -> float:
        known = self.known
        if known.pass_text:
            known.is_done = True
            return 0.0
        known.ticket = str(body.get("ticket", known.ticket))
        known.pass_text = str(body.get("pass", ""))
        if known.pass_text:
            return 0.0
        self._place(body)
        return 0.0 if self.state == "called" else float(body.get("poll_after_s", RETRY_S))

    def _place(self, body: Mapping[str, Any]) -> None:
        if "state" in body:
            self.told, self.state = dict(body), str(body["state"])


def _retry_after_s(headers: Mapping[str, str]) -> float:
    try:
        return float(headers.get("Retry-After", RETRY_S))
    except ValueError:
        return RETRY_S


def application() -> dict[str, Any]:
    """A made-up one."""
    return {
        "signup_id": str(uuid.uuid4()),
        "revision": 1,
        "name": "(성명)",
        "phone": "+821012345678",
        "birth_date": "1960-03-01",
        "district": "종로구",
        "device": {"platform": "android", "model": "example"},
        "consents": {"terms": True, "health_data": True, "marketing": False},
    }


# The socket


def send(base: str, ask: Ask) -> tuple[int, Mapping[str, str], Mapping[str, Any]]:
    """One request and its answer.  Raises OSError: there was none."""
    content = None if ask.body is None else json.dumps(ask.body).encode()
    headers = {**ask.headers, **({} if content is None else {"Content-Type": "application/json"})}
    request = urllib.request.Request(base + ask.path, content, headers, method=ask.method)  # noqa: S310 - the address is the caller's
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310
            return answer.status, dict(answer.headers.items()), _read(answer.read())
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, dict(answer.headers.items()), _read(answer.read())


def _read(text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def run(base: str, phone: Phone, save: Callable[[Known], None], say: Callable[[str], None]) -> bool:
    """Until signed up (true) or refused for good (false)."""
    while not phone.is_over:
        ask = phone.ask()
        try:
            status, headers, body = send(base, ask)
        except OSError as exc:
            wait_s = phone.missed()
            say(f"no answer ({exc}); again in {wait_s:.0f} s")
        else:
            wait_s = phone.heard(status, headers, body)
            save(phone.known)
            place = f"{phone.told.get('ahead', '?')} ahead, {phone.told.get('p50_s', '?')} to {phone.told.get('p90_s', '?')} s" if phone.told else ""
            say(f"{ask.method} {ask.path} → {status} {phone.state if not phone.known.pass_text else 'through'} {place}".rstrip())
            if phone.is_shut_out:
                kept = "your place is kept" if phone.known.ticket else "nobody new may join"
                say(f"the room is closed: {kept}; asking again in {wait_s:.0f} s")
        time.sleep(wait_s)
    return phone.known.is_done


def main() -> int:
    """0: signed up; 1: refused for good; 2: the saved file is none."""
    parser = argparse.ArgumentParser(description="Sign up through the waiting room.")
    parser.add_argument("gateway", help="such as http://127.0.0.1:8080")
    parser.add_argument("room", help="its name")
    parser.add_argument("--save", type=Path, help="keep what is known there, and go on from it")
    chosen = parser.parse_args()
    try:
        known = Known(**json.loads(chosen.save.read_text())) if chosen.save and chosen.save.exists() else Known(str(uuid.uuid4()), application())
    except (ValueError, TypeError) as exc:
        print(f"{chosen.save}: not what this program saved: {exc}", file=sys.stderr)
        return 2

    def save(now: Known) -> None:
        if chosen.save:
            draft = chosen.save.with_suffix(".draft")
            draft.write_text(json.dumps(asdict(now)))
            draft.replace(chosen.save)  # whole, or as it was

    save(known)
    is_done = run(chosen.gateway.rstrip("/"), Phone(chosen.room, known), save, lambda text: print(text, flush=True))
    print("signed up" if is_done else known.failed)
    return 0 if is_done else 1


if __name__ == "__main__":
    sys.exit(main())
