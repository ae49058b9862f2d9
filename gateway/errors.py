"""Everything that can go wrong, drawn once, and how HTTP says it, once.

    SluicegateError
     ├── ConfigError      a setting, key or file is wrong     → one line on stderr, exit 2
     ├── Refusal          a request is refused, and why       → problem+json, see PROBLEMS
     ├── RoomAway         the line's store did not answer     → the worker goes on alone
     │    └── Behind      it forgot what was seen, or all     → raise it, ask again
     ├── BrokerError
     │    ├── BrokerAway       no contact, no answer in time, or a producer past repair → rebuild
     │    ├── PartitionFailed  one partition does not take its batches                  → it alone backs off
     │    └── BatchRefused     this batch's content is refused for good                 → split
     └── SpoolError
          ├── SpoolFull        no bytes left for this kind; nothing was written         → Kafka, or the client keeps it
          └── SpoolFailed      the disk fails; what was asked may be on it all the same → the same, outcome unknown

Third-party errors are translated at the one door of their library; what gets
past a door all the same is a bug, is logged, and answers `internal`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple


class SluicegateError(Exception):
    """The root: anything this program raises on purpose."""


class ConfigError(SluicegateError):
    """A setting, key or file is wrong; the message names it, its value and what was wanted."""


class RoomAway(SluicegateError):
    """The line's store did not answer in time, or with an error; what was asked may have been done."""


class Behind(RoomAway):
    """The line's store was restarted, knows less than was seen, or nothing: what was asked was not done."""


class BrokerError(SluicegateError):
    """Kafka did not take a batch."""


class BrokerAway(BrokerError):
    """No contact, no answer in time, or a producer that can only be rebuilt."""


class PartitionFailed(BrokerError):
    """One partition does not take its batches; the others are none the worse for it."""


class BatchRefused(BrokerError):
    """The broker refuses what this batch contains, and would again."""


class SpoolError(SluicegateError):
    """The spool did not take records: nothing may be acknowledged from it."""


class SpoolFull(SpoolError):
    """Its bytes are used up, or what is left is reserved for sign-ups: nothing was written."""


class SpoolFailed(SpoolError):
    """The disk is full, read-only or broken.  What was asked may be found on it after a restart all the same."""


class Problem(NamedTuple):
    """One kind of refusal: its HTTP status, and what the app does about it."""

    code: str
    status: int
    retryable: bool
    title: str
    title_ko: str
    remedy: str
    remedy_ko: str


def _problem(code: str, status: int, title: str, title_ko: str, remedy: str, remedy_ko: str) -> Problem:
    return Problem(code, status, status in _RETRYABLE_STATUS, title, title_ko, remedy, remedy_ko)


# 401 is not here: the same token is refused again.  408 and 5xx may be sent again as they are.
_RETRYABLE_STATUS: Final = frozenset({408, 429, 500, 503})

_FIX = ("Do not retry: fix the request.", "다시 보내지 말고 요청을 고치세요.")
_REJOIN = ("Join the line of the room that `Link` names: POST its tickets.", "`Link`에 적힌 대기실에 다시 줄을 서세요.")
_WAIT = ("Wait Retry-After seconds, then send the same request again.", "Retry-After 초를 기다린 뒤 같은 요청을 다시 보내세요.")

# What only the operators' port answers; the document of the public one does not speak of it.
OPS_ONLY: Final = frozenset({"cross-site"})

PROBLEMS: Final[Mapping[str, Problem]] = {
    p.code: p
    for p in (
        _problem("bad-request", 400, "Not valid HTTP for this server", "올바른 HTTP 요청이 아닙니다", *_FIX),
        _problem("invalid-json", 400, "The body is not valid JSON in UTF-8", "본문이 올바른 UTF-8 JSON이 아닙니다", *_FIX),
        _problem("invalid-gzip", 400, "The body is not one valid gzip stream", "본문이 올바른 gzip이 아닙니다", *_FIX),
        _problem(
            "token-missing",
            401,
            "A bearer token is required",
            "인증 토큰이 필요합니다",
            "Send `Authorization: Bearer <token>` with the same request.",
            "`Authorization: Bearer <token>` 헤더를 보내세요.",
        ),
        _problem(
            "token-invalid",
            401,
            "The token is not valid here",
            "유효하지 않은 토큰입니다",
            "Do not retry with this token: sign in again.",
            "이 토큰으로 다시 시도하지 말고 다시 로그인하세요.",
        ),
        _problem(
            "token-expired",
            401,
            "The token has expired",
            "토큰이 만료되었습니다",
            "Refresh the token, then send the same request again.",
            "토큰을 갱신한 뒤 같은 요청을 다시 보내세요.",
        ),
        _problem(
            "pass-required",
            403,
            "Sign-ups go through the waiting room",
            "가입은 대기실을 거쳐야 합니다",
            "Join the line of the room that `Link` names, and send the pass you get there.",
            "`Link`에 적힌 대기실에 줄을 서고, 받은 입장권과 함께 다시 보내세요.",
        ),
        _problem("pass-invalid", 403, "This is no pass of ours", "올바른 입장권이 아닙니다", *_REJOIN),
        _problem(
            "pass-expired",
            403,
            "The pass has expired",
            "입장권이 만료되었습니다",
            "Ask for a new pass with the same ticket: the place is kept.",
            "같은 대기표로 입장권을 다시 받으세요. 순서는 그대로입니다.",
        ),
        _problem("ticket-invalid", 403, "This is no ticket of ours", "올바른 대기표가 아닙니다", *_REJOIN),
        _problem("ticket-room", 403, "The ticket is of another room", "다른 대기실의 대기표입니다", *_REJOIN),
        _problem("ticket-epoch", 403, "The ticket is of another day's line", "지난 대기줄의 대기표입니다", *_REJOIN),
        _problem("ticket-revoked", 403, "The ticket was taken back", "취소된 대기표입니다", *_REJOIN),
        _problem(
            "cross-site",
            403,
            "The call comes from another site's page",
            "다른 사이트의 화면에서 보낸 요청입니다",
            "Use the operators' screen of this gateway, or the command line.",
            "이 게이트웨이의 운영 화면이나 명령줄을 사용하세요.",
        ),
        _problem("not-found", 404, "There is nothing here", "없는 주소입니다", *_FIX),
        _problem(
            "receipt-invalid",
            404,
            "This is no receipt of ours",
            "올바른 접수증이 아닙니다",
            "Do not retry: ask with the `receipt` exactly as the 202 gave it, to the service that gave it.",
            "다시 보내지 말고, 202 응답에서 받은 `receipt` 값을 그대로, 그 값을 받은 서비스에 보내세요.",
        ),
        _problem("method-not-allowed", 405, "This path does not take that method", "허용되지 않는 메서드입니다", *_FIX),
        _problem(
            "request-timeout",
            408,
            "The request did not arrive in time",
            "요청이 제시간에 도착하지 않았습니다",
            "Send the same request again on a new connection.",
            "새 연결로 같은 요청을 다시 보내세요.",
        ),
        _problem("length-required", 411, "Say how long the body is", "본문의 길이가 필요합니다", *_FIX),
        _problem(
            "body-too-large",
            413,
            "The body is larger than allowed",
            "본문이 너무 큽니다",
            "Do not retry: send less in one request, of a sync fewer samples.",
            "다시 보내지 말고 한 요청의 샘플 수를 줄이세요.",
        ),
        _problem("unsupported-media-type", 415, "Send application/json", "application/json만 받습니다", *_FIX),
        _problem("unsupported-encoding", 415, "Send the body plain or as gzip", "본문은 그대로 또는 gzip으로만 받습니다", *_FIX),
        _problem(
            "invalid",
            422,
            "The content is not valid",
            "내용이 올바르지 않습니다",
            "Do not retry: each error names its place by JSON pointer. Forget the samples up to ack_through.",
            "다시 보내지 마세요. 각 오류의 위치는 JSON pointer로 표시됩니다. ack_through까지의 샘플은 지워도 됩니다.",
        ),
        _problem(
            "too-many-connections",
            429,
            "Too many connections from this address",
            "이 주소에서 온 연결이 너무 많습니다",
            *_WAIT,
        ),
        _problem(
            "not-your-turn",
            429,
            "Not your turn yet",
            "아직 차례가 아닙니다",
            "Wait Retry-After seconds, then knock again with the same ticket: the place is kept.",
            "Retry-After 초를 기다린 뒤 같은 대기표로 다시 시도하세요. 순서는 그대로입니다.",
        ),
        _problem("rate-limited", 429, "You send more than your share", "허용된 양보다 많이 보냈습니다", *_WAIT),
        _problem(
            "internal",
            500,
            "We made a mistake",
            "서버 오류입니다",
            "Send the same request again after a while; it is safe.",
            "잠시 뒤 같은 요청을 다시 보내세요. 반복해도 안전합니다.",
        ),
        _problem("overloaded", 503, "More work than we can take now", "지금은 요청이 너무 많습니다", *_WAIT),
        _problem("line-full", 503, "The line takes nobody more just now", "지금은 대기줄이 가득 찼습니다", *_WAIT),
        _problem(
            "room-closed",
            503,
            "The waiting room is closed",
            "지금은 대기실이 닫혀 있습니다",
            "Wait Retry-After seconds, then join again with the same `join_id`. Who has a ticket keeps the place: ask for it with the ticket.",
            "Retry-After 초를 기다린 뒤 같은 `join_id`로 다시 줄을 서세요. 이미 받은 대기표의 순서는 그대로이니, 그 대기표로 순서를 확인하세요.",
        ),
        _problem("draining", 503, "This server is about to stop", "서버가 곧 종료됩니다", *_WAIT),
        _problem(
            "not-durable",
            503,
            "Not stored durably in time",
            "제시간에 안전하게 저장되지 않았습니다",
            "Wait Retry-After seconds, then send the same request again: repeating is always safe.",
            "Retry-After 초를 기다린 뒤 같은 요청을 다시 보내세요. 반복해도 항상 안전합니다.",
        ),
    )
}

# Codes of one sample's `results` entry in a sync's answer (the request as a whole may still be a 202).
SAMPLE_CODES: Final[Mapping[str, str]] = {
    "invalid-field": "A field is missing, of the wrong type or out of its bounds; the pointer names it.",
    "duplicate-key": "The sample names one field twice, so its meaning is unclear.",
    "duplicate": "The same event stands earlier in this request and was stored; this one needs no record of its own.",
    "refused-by-kafka": "The store refuses this record for good; nothing of it is kept.",
    "not-durable": "Not stored in time; send this sample again.",
    "rate-limited": "More samples than this user may send now; send this one again after Retry-After.",
    "overloaded": "Samples of days gone by wait while there is more work than we can take; send this one again after Retry-After.",
}


class Refusal(SluicegateError):
    """A request is refused: `code` is a key of PROBLEMS.

    Args:
        detail: one sentence for a developer; never any part of the payload.
        retry_after_s: whole seconds, for 429 and 503.
        headers: further response headers (Allow, WWW-Authenticate, …).
        members: further members of the problem document (errors, outcome, results, …).
        close: the connection cannot be used after this answer.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        retry_after_s: int | None = None,
        headers: Sequence[tuple[str, str]] = (),
        members: Mapping[str, object] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(code, detail)
        self.problem = PROBLEMS[code]
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.headers = headers
        self.members = members or {}
        self.close = close
