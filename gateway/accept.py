"""The path of one request: route, admission, identity, body, check, delivery, answer.

Decided here: the order of these, what a request's head must look like, and how
long its body may take.  Cheap before dear: what the head alone can refuse is
refused before the signature, the signature before the body.

    head ─▶ admit ─▶ identity ─▶ body (deadline, rate, size) ─▶ check ─▶ deliver ─▶ answer
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError

from gateway import logs
from gateway.admit import Admission
from gateway.board import Slot
from gateway.check import check_signup, check_sync, unfold
from gateway.clock import Clock
from gateway.config import Http
from gateway.connection import Connection
from gateway.core.event import Forge
from gateway.core.receipt import Outcome, Receipt, receipt
from gateway.deliver import Deliverer
from gateway.documents import Document, Documents
from gateway.errors import PROBLEMS, Refusal
from gateway.identity import Identity
from gateway.reply import Answer, Replies

Handler = Callable[[web.BaseRequest], Awaitable[Answer]]


class Front:
    """The public port of one worker."""

    def __init__(
        self,
        settings: Http,
        *,
        admission: Admission,
        identity: Identity,
        deliverer: Deliverer,
        forge: Forge,
        documents: Documents,
        replies: Replies,
        clock: Clock,
        slot: Slot,
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._identity = identity
        self._deliverer = deliverer
        self._forge = forge
        self._documents = documents
        self._replies = replies
        self._clock = clock
        self._routes: dict[str, tuple[str, str, Handler]] = {
            "/v1/syncs": ("syncs", "POST", self._sync),
            "/v1/signups": ("signups", "POST", self._signup),
            "/v1/notices": ("notices", "GET", self._notices),
            "/v1/openapi.json": ("openapi", "GET", self._openapi),
        }
        self._counts = {name: slot.counters_by("sluicegate_requests_total", name) for name in ("syncs", "signups", "notices", "openapi", "problems", "none")}
        self._sample_counts = slot.counters_by("sluicegate_events_total", "syncs")
        self._refusals = slot.counters_by("sluicegate_refusals_total")
        self._body_bytes = slot.counter("sluicegate_body_bytes_total")
        self.closes_connections = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; nothing it can contain makes this raise."""
        name, method, handler = self._route(request.raw_path)
        try:
            _check_head(request)
            if method and request.method != method and not (request.method == "HEAD" and method == "GET"):
                allow = "GET, HEAD" if method == "GET" else method
                raise Refusal("method-not-allowed", f"want {allow}", headers=[("Allow", allow)])
            response = await handler(request)
        except Refusal as refusal:
            response = self._refuse(refusal)
        except ConnectionError:
            raise  # the client is gone; aiohttp closes what is left
        except Exception as exc:  # noqa: BLE001 - the last door: a bug answers 500 and says nothing of itself
            logs.error("a request failed", exc=exc, route=name)
            response = self._refuse(Refusal("internal", "an error that is ours", close=True))
        if self.closes_connections or ("Expect" in request.headers and not request.content.is_eof()):
            # Who was told no before its body need not send it: what comes next may be that body or not.
            response.force_close()
        self._counts[name][str(response.status)].add()
        return response

    def _refuse(self, refusal: Refusal) -> Answer:
        self._refusals[refusal.problem.code].add()
        return self._replies.refusal(refusal)

    def _route(self, target: str) -> tuple[str, str, Handler]:
        """(name, method, handler) of a request target; what is nowhere has a handler that says so."""
        path = target.partition("?")[0]
        route = self._routes.get(path)
        if route is not None:
            return route
        code = path.removeprefix("/problems/")
        if code in PROBLEMS and code != path:
            return "problems", "GET", self._problem
        return _NOWHERE

    # The two calls the product is for

    async def _sync(self, request: web.BaseRequest) -> Answer:
        kind = "syncs"
        declared = self._declared(request)
        cost_bytes = self._admission.admit(kind, declared.unfolded_bytes_max, is_kept=_is_kept(request))
        try:
            member = self._identity.member(request.headers.get("Authorization"), self._clock.now_us() / 1e6)
            body = await self._body(request, declared)
            lines, records = check_sync(self._forge, member, body, self._clock.now_us())
            outcomes: Sequence[Outcome] = ()
            if records:
                outcomes = await self._deliverer.deliver(kind, records, member.key_hash)
        finally:
            self._admission.done(cost_bytes)
        told = receipt(lines, outcomes)
        for entry in told.results:
            if entry.code not in _COUNTED_BY_DELIVERY:
                self._sample_counts[entry.status].add()
        return self._told(told)

    def _told(self, told: Receipt) -> Answer:
        if told.status == 202:
            retry_after_s = self._admission.retry_after_s() if told.has_retry else None
            return self._replies.receipt(told, retry_after_s)
        if told.status == 503:
            return self._refuse(self._replies.none_durable(told, self._admission.retry_after_s()))
        return self._refuse(self._replies.none_valid(told))

    async def _signup(self, request: web.BaseRequest) -> Answer:
        kind = "signups"
        declared = self._declared(request)
        cost_bytes = self._admission.admit(kind, declared.unfolded_bytes_max, is_kept=_is_kept(request))
        try:
            body = await self._body(request, declared)
            signup_id, record = check_signup(self._forge, body, self._clock.now_us())
            [outcome] = await self._deliverer.deliver(kind, [record], None)
        finally:
            self._admission.done(cost_bytes)
        if outcome is Outcome.DURABLE:
            return self._replies.signed_up(signup_id)
        if outcome is Outcome.REFUSED:
            errors = [{"pointer": "", "detail": "refused-by-kafka"}]
            raise Refusal("invalid", "the store refuses this application for good", members={"errors": errors})
        known = "unknown" if outcome is Outcome.UNKNOWN else "none"
        raise Refusal("not-durable", _NOT_DURABLE[known], retry_after_s=self._admission.retry_after_s(), members={"outcome": known})

    # Documents

    async def _notices(self, request: web.BaseRequest) -> Answer:
        return self._document(request, self._documents.notices, self._documents.notices_max_age_s)

    async def _openapi(self, request: web.BaseRequest) -> Answer:
        return self._document(request, self._documents.openapi, 3600)

    async def _problem(self, request: web.BaseRequest) -> Answer:
        code = request.raw_path.partition("?")[0].removeprefix("/problems/")
        is_korean = request.headers.get("Accept-Language", "").lower().startswith("ko")
        return self._document(request, self._documents.problem(code, "ko" if is_korean else "en"), 3600)

    def _document(self, request: web.BaseRequest, document: Document, max_age_s: int) -> Answer:
        tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
        is_known = document.etag in tags or "*" in tags
        return self._replies.document(document.content_type, document.body, etag=document.etag, max_age_s=max_age_s, is_known=is_known)

    # The body

    def _declared(self, request: web.BaseRequest) -> "_Declared":
        """What the head says of the body, or why no such body is taken."""
        headers = request.headers
        if headers.get("Content-Type") != "application/json" and not _is_json(headers.get("Content-Type", "")):
            raise Refusal("unsupported-media-type", "want Content-Type: application/json in UTF-8")
        encoding = ",".join(headers.getall("Content-Encoding", ())).strip().lower()
        if encoding not in ("", "identity", "gzip"):
            raise Refusal("unsupported-encoding", "want gzip or no Content-Encoding", headers=[("Accept-Encoding", "gzip")])
        bytes_max = self._settings.body_bytes_max
        length_text = headers.get("Content-Length")
        if length_text is not None:
            length = int(length_text)  # the parser lets digits alone through
        elif "Transfer-Encoding" in headers:
            length = bytes_max  # chunked: as much as is allowed may come
        else:
            raise Refusal("length-required", "want Content-Length or chunked", close=True)
        if length > bytes_max:
            raise Refusal("body-too-large", f"want at most {bytes_max} bytes", close=True)
        if encoding == "gzip":
            return _Declared(True, min(length * self._settings.gzip_ratio_max, bytes_max))
        return _Declared(False, length)

    async def _body(self, request: web.BaseRequest, declared: "_Declared") -> bytes:
        """The unfolded body, read within its deadline."""
        if request.headers.get("Expect") is not None and request.version == HttpVersion11 and not request.content.is_eof():
            # Only now: the decision to take this request is made.
            assert request.transport is not None
            request.transport.write(_CONTINUE)
        content = request.content
        try:
            body = content.read_nowait() if content.is_eof() else await self._trickle(content)
        except (web.RequestPayloadError, HttpProcessingError):
            raise Refusal("bad-request", "the body's framing is broken", close=True) from None
        if len(body) > self._settings.body_bytes_max:
            raise Refusal("body-too-large", f"want at most {self._settings.body_bytes_max} bytes", close=True)
        self._body_bytes.add(len(body))
        return unfold(body, is_gzip=declared.is_gzip, bytes_max=self._settings.body_bytes_max, ratio_max=self._settings.gzip_ratio_max)

    async def _trickle(self, content: StreamReader) -> bytes:
        """A body that is not here yet: as fast as the slowest line we serve, or 408."""
        started_s = self._clock.monotonic_s()
        body = bytearray()
        while len(body) <= self._settings.body_bytes_max:
            patience_s = body_until_s(self._settings, len(body)) - (self._clock.monotonic_s() - started_s)
            try:
                async with asyncio.timeout(patience_s):
                    chunk = await content.readany()
            except TimeoutError:
                raise Refusal("request-timeout", "the body did not arrive in time", close=True) from None
            if not chunk:
                break
            body += chunk
        return bytes(body)


class _Declared(NamedTuple):
    """What a request's head says of its body."""

    is_gzip: bool
    unfolded_bytes_max: int


def body_until_s(settings: Http, received_bytes: int) -> float:
    """Seconds after its start at which a body with so many bytes received is too slow."""
    return min(settings.body_timeout_s, settings.body_grace_s + received_bytes / settings.body_rate_min)


def _check_head(request: web.BaseRequest) -> None:
    """What the parser lets through and we do not.  Each closes the connection: what follows may be anything."""
    if request.version not in _VERSIONS:
        request._version = HttpVersion11  # noqa: SLF001 - aiohttp's status line says whatever the request said
        raise Refusal("bad-request", "want HTTP/1.1", close=True)
    if request.raw_path[:1] != "/":
        raise Refusal("bad-request", "want a request target that begins with /", close=True)
    headers = request.headers
    hosts = headers.getall("Host", ())
    if len(hosts) != 1 and (hosts or request.version == HttpVersion11):
        raise Refusal("bad-request", "want exactly one Host", close=True)
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise Refusal("bad-request", "want a Host of name and port", close=True)
    coding = headers.get("Transfer-Encoding")
    if coding is not None and (coding.lower() != "chunked" or request.version != HttpVersion11):
        # Whatever stands in front of us may read an empty coding, a list or HTTP/1.0 otherwise, and see another body.
        raise Refusal("bad-request", "want no Transfer-Encoding but chunked, in HTTP/1.1", close=True)
    if len(headers.getall("Authorization", ())) > 1:
        raise Refusal("bad-request", "want one Authorization", close=True)
    if "Upgrade" in headers:
        # The parser stops at an upgrade and would read this request's body as the next request.
        raise Refusal("bad-request", "no protocol to upgrade to", close=True)
    expect = headers.get("Expect")
    if expect is not None and expect.lower() != "100-continue":
        raise Refusal("bad-request", "want no Expect but 100-continue")


def _is_kept(request: web.BaseRequest) -> bool:
    """Whether its connection has had a request before: only those are turned away while draining."""
    protocol = request.protocol
    return isinstance(protocol, Connection) and protocol.is_kept


def _is_json(content_type: str) -> bool:
    """application/json, with no charset or with UTF-8."""
    media_type, _, parameters = content_type.lower().partition(";")
    if media_type.strip() != "application/json":
        return False
    name, _, value = parameters.strip().partition("=")
    return not parameters.strip() or (name == "charset" and value.strip('"') in ("utf-8", "utf8"))


async def _nowhere(_: web.BaseRequest) -> Answer:
    raise Refusal("not-found", "no such path")


_COUNTED_BY_DELIVERY: Final = frozenset({"not-durable", "refused-by-kafka"})
_VERSIONS: Final = (HttpVersion11, HttpVersion10)
_HOST: Final = re.compile(r"[\w.~!$&'()*+,;=%:\[\]-]*", re.ASCII)  # RFC 3986 host and port; empty is allowed
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NOT_DURABLE: Final = {
    "none": "not sent to the store in time; nothing of this request was kept",
    "unknown": "not acknowledged in time; it may be stored all the same",
}
_NOWHERE: Final = ("none", "", _nowhere)
