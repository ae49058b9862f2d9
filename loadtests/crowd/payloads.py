"""What the generator's people send: the bytes of their requests.  Pure but for reading the files of keys and tokens.

A sync's bytes are a function of (run, arrival, ordinal), so a repeat is the same to the byte, in whatever process.
Each sample's `id` and each application's `signup_id` is recording.payload_id: the ledgers find it again in Kafka.

    member m of a stream   sub = device = "member-<m>", the streams' members counted on; its seqs grow; steps grow with them
    X-Forwarded-For        one address for each person, as a proxy tells it: else a city would come from one
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from benchmarks import sut
from benchmarks.crowd import address, form
from loadtests.recording import payload_id
from loadtests.scenario import Scenario, Stream

CACHED_MAX: Final = 100_000  # members' heads, half a kilobyte each; those beyond are made anew each time
STEPS_MAX: Final = 200_000


class Secret(Struct, frozen=True):
    """What signs members' tokens: the JSON of --secret-file."""

    key: str  # HS256, base64url
    kid: str = sut.KEY_ID
    issuer: str = sut.ISSUER
    audience: str = sut.AUDIENCE

    def __repr__(self) -> str:
        return f"Secret(kid={self.kid!r})"


class Tokens:
    """A token for each member: signed here, or one of those that were given."""

    def __init__(self, secret: Secret, now_s: int, given: Sequence[str] = ()) -> None:
        self._given = given
        self._key = _unpadded(secret.key)
        self._head = _base64url({"alg": "HS256", "kid": secret.kid, "typ": "JWT"})
        self._claims = {"iss": secret.issuer, "aud": secret.audience, "iat": now_s, "exp": now_s + sut.TOKEN_LIFE_S}

    def of(self, member: int) -> str:
        """The member's."""
        return self._given[member % len(self._given)] if self._given else self._signed(member, self._key)

    def forged(self, member: int) -> str:
        """The same claims, signed by somebody else."""
        return self._signed(member, hashlib.blake2b(self._key, person=b"forger").digest())

    def _signed(self, member: int, key: bytes) -> str:
        text = self._head + b"." + _base64url({"sub": f"member-{member}", **self._claims})
        return (text + b"." + base64.urlsafe_b64encode(hmac.digest(key, text, "sha256")).rstrip(b"=")).decode()


def tokens(secret_file: Path | None, tokens_file: Path | None, now_s: int) -> Tokens:
    """Those of the command line; without either every sync is refused.

    Raises:
        OSError, ValueError: a file cannot be read, or is not what it should be.
    """
    secret = msgspec.json.decode(secret_file.read_bytes(), type=Secret) if secret_file else Secret(key="c2x1aWNlZ2F0ZQ")
    given = tokens_file.read_text(encoding="ascii").split() if tokens_file else []
    if tokens_file and not given:
        raise ValueError(f"{tokens_file}: want one token a line")
    return Tokens(secret, now_s, given)


def _base64url(claims: Mapping[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(msgspec.json.encode(claims)).rstrip(b"=")


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Payloads:
    """All that is sent to one gateway in one rehearsal."""

    def __init__(self, scenario: Scenario, run: int, began_s: float, host: str, prefix: str, signs: Tokens) -> None:
        """`began_s`: of the epoch, the rehearsal's second 0."""
        self._run, self._began, self._prefix, self._tokens = run, datetime.fromtimestamp(began_s, UTC), prefix, signs
        self._host = f"Host: {host}\r\nUser-Agent: okhttp/4.12.0\r\n"
        self._streams = scenario.streams
        self._first_member = list(accumulate((stream.members for stream in scenario.streams), initial=0))
        self._days = [self._of_day(stream) for stream in scenario.streams]
        self._heads: dict[int, bytes] = {}

    def sync(self, stream: int, arrival: int, ordinal: int, *, is_forged: bool = False) -> bytes:
        """One member's request."""
        its = self._streams[stream]
        member, turn = self._first_member[stream] + ordinal % its.members, ordinal // its.members
        seq, days = turn * its.samples, self._days[stream]
        samples = ",".join(
            f'{{"id":"{payload_id(self._run, arrival, sample)}","seq":{seq + sample},{days[sample]},"steps":{(1_000 + 7 * (seq + sample)) % STEPS_MAX}}}'
            for sample in range(its.samples)
        )
        body = f'{{"device_id":"member-{member}","platform":"android","app_version":"2.3.1","samples":[{samples}]}}'.encode()
        return b"%b%d\r\n\r\n%b" % (self._sync_head(member, is_forged=is_forged), len(body), body)

    def _sync_head(self, member: int, *, is_forged: bool) -> bytes:
        if not is_forged and (known := self._heads.get(member)):
            return known
        token = self._tokens.forged(member) if is_forged else self._tokens.of(member)
        head = self._head("POST", "/v1/syncs", member, {"Authorization": f"Bearer {token}"}) + b"Content-Type: application/json\r\nContent-Length: "
        if not is_forged and len(self._heads) < CACHED_MAX:
            self._heads[member] = head
        return head

    def _of_day(self, stream: Stream) -> list[str]:
        """Each sample's `day`, `recorded_at` and `source`: what does not depend on the member."""
        days = [self._began + timedelta(days=sample - stream.days_back) for sample in range(stream.samples)]
        now = self._began.isoformat(timespec="seconds").replace("+00:00", "Z")
        # What is recorded of a day to come has been recorded today, by a clock that is wrong.
        return [f'"day":"{day:%Y-%m-%d}","recorded_at":"{min(day, self._began):%Y-%m-%d}{now[10:]}","source":"watch"' for day in days]

    def application(self, arrival: int) -> dict[str, Any]:
        """One applicant's form, in the letters of who applies."""
        return form(arrival, payload_id(self._run, arrival, 0), f"신청자 {arrival}", "종로구")

    def ask(self, method: str, path: str, person: int, headers: Mapping[str, str], body: Mapping[str, Any] | None) -> bytes:
        """Any other request, such as a phone's."""
        head = self._head(method, path, person, headers)
        if body is None:
            return head + b"\r\n"
        content = msgspec.json.encode(body)
        return b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (head, len(content), content)

    def _head(self, method: str, path: str, person: int, headers: Mapping[str, str]) -> bytes:
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._host}X-Forwarded-For: {address(person)}\r\n{fields}".encode()
