"""How a refusal, a receipt or a document looks on the wire.  Read by the standard library's parser, not by ours."""

import io
import json
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from http.client import HTTPMessage, parse_headers
from typing import Any, cast

import pytest

from gateway.clock import SYSTEM
from gateway.core.receipt import Entry, Receipt
from gateway.errors import PROBLEMS, Refusal
from gateway.reply import Answer, Replies, problem_page

INVALID = Entry(0, "a", 1, "invalid", "invalid-field", "/samples/0/steps", "required")
RETRY = Entry(1, None, None, "retry", "not-durable", "/samples/1")


def told(*results: Entry, status: int = 202, outcome: str = "none") -> Receipt:
    return Receipt(cast("Any", status), 1, 41, list(results), bool(results), cast("Any", outcome))


class Wire:
    """An answer as a client reads it."""

    def __init__(self, answer: Answer | bytes) -> None:
        raw = answer if isinstance(answer, bytes) else answer.head + b"\r\n" + answer.body
        head, _, self.body = raw.partition(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        version, status, self.phrase = line.decode().split(" ", 2)
        assert version == "HTTP/1.1"
        assert b"\n" not in head.replace(b"\r\n", b"")
        self.status = int(status)
        self.headers: HTTPMessage = parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
        assert len({name.lower() for name in self.headers}) == len(self.headers), "a header stands twice"

    @property
    def document(self) -> dict[str, Any]:
        assert int(self.headers["Content-Length"]) == len(self.body)
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document


def test_every_answer_has_its_name_our_server_and_no_store() -> None:
    replies = Replies("w1")
    refusal = Refusal("not-found", "no such path")
    answers: list[Answer | bytes] = [
        replies.receipt(told(), b"R", None),
        replies.signed_up("x", "kafka", b"R"),
        replies.refusal(refusal),
        replies.raw(Refusal("overloaded", "full")),
        replies.refusal(refusal),
    ]
    for number, answer in enumerate(answers, start=1):
        headers = Wire(answer).headers
        assert headers["Request-Id"] == f"w1-{number}"
        assert (headers["Server"], headers["Cache-Control"]) == ("sluicegate", "no-store")
        assert abs(parsedate_to_datetime(headers["Date"]).timestamp() - SYSTEM.now_us() / 1e6) < 10


def test_the_answer_to_a_sync() -> None:
    answer = Wire(Replies("w").receipt(told(), b"R", None))
    assert (answer.status, answer.headers["Content-Type"]) == (202, "application/json")
    assert answer.document == {"durability": "kafka", "accepted": 1, "ack_through": 41, "results": [], "receipt": "R"}
    assert "Retry-After" not in answer.headers


def test_results_are_told_with_their_nulls_and_without_an_empty_detail() -> None:
    answer = Wire(Replies("w").receipt(told(INVALID, RETRY), b"R", 7))
    assert answer.document["results"] == [
        {"index": 0, "id": "a", "seq": 1, "status": "invalid", "code": "invalid-field", "pointer": "/samples/0/steps", "detail": "required"},
        {"index": 1, "id": None, "seq": None, "status": "retry", "code": "not-durable", "pointer": "/samples/1"},
    ]
    assert answer.headers["Retry-After"] == "7"
    assert answer.document["receipt"] == "R"


def test_the_answer_to_a_signup() -> None:
    answer = Wire(Replies("w").signed_up("0190a6f0-3d52-7b1e-8c4f-5a9d2e7b6c18", "spool", b"R"))
    assert (answer.status, answer.document) == (202, {"durability": "spool", "signup_id": "0190a6f0-3d52-7b1e-8c4f-5a9d2e7b6c18", "receipt": "R"})


@pytest.mark.parametrize("code", PROBLEMS)
def test_a_refusal_is_a_problem_document(code: str) -> None:
    """RFC 9457: its members, its media type, and a status that equals the response's."""
    problem = PROBLEMS[code]
    answer = Wire(Replies("w").refusal(Refusal(code, "what was wanted", retry_after_s=3, headers=[("Allow", "GET")], members={"outcome": "none"})))
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.status == problem.status
    assert answer.document == {
        "type": f"/problems/{code}",
        "title": problem.title,
        "status": problem.status,
        "detail": "what was wanted",
        "code": code,
        "retryable": problem.retryable,
        "outcome": "none",
    }
    assert (answer.headers["Retry-After"], answer.headers["Allow"]) == ("3", "GET")


@pytest.mark.parametrize("close", [True, False])
def test_a_connection_that_cannot_be_used_again_is_closed(close: bool) -> None:
    assert (Replies("w").refusal(Refusal("bad-request", "x", close=close)).keep_alive is False) == close


def test_a_sync_without_anything_durable_says_whether_it_may_be_stored() -> None:
    refusal = Replies.none_durable(told(RETRY, status=503, outcome="unknown"), 9)
    assert (refusal.problem.code, refusal.retry_after_s) == ("not-durable", 9)
    document = Wire(Replies("w").refusal(refusal)).document
    assert (document["outcome"], document["ack_through"], document["accepted"]) == ("unknown", 41, 1)
    assert document["results"]


def test_a_sync_without_a_valid_sample_names_each_place() -> None:
    refused = Entry(1, None, 2, "invalid", "refused-by-kafka", "/samples/1")
    document = Wire(Replies("w").refusal(Replies.none_valid(told(INVALID, refused, status=422)))).document
    assert document["code"] == "invalid"
    assert document["errors"] == [{"pointer": "/samples/0/steps", "detail": "required"}, {"pointer": "/samples/1", "detail": "refused-by-kafka"}]
    assert document["ack_through"] == 41


def test_a_document_is_cacheable_and_known_by_its_tag() -> None:
    replies = Replies("w")
    fresh = Wire(replies.document("application/json", b"{}", etag='"x"', max_age_s=60, if_none_match=""))
    known = Wire(replies.document("application/json", b"{}", etag='"x"', max_age_s=60, if_none_match='"x"'))
    assert (fresh.status, fresh.document) == (200, {})
    assert (known.status, known.body) == (304, b"")
    assert "Content-Length" not in known.headers  # it would be the body's, which is not sent
    for answer in (fresh, known):
        assert (answer.headers["Cache-Control"], answer.headers["ETag"], answer.headers["Vary"]) == ("public, max-age=60", '"x"', None)


def test_a_page_comes_in_two_languages_and_does_nothing() -> None:
    page = Wire(Replies("w").document("text/html; charset=utf-8", b"<p>", etag='"x"', max_age_s=60, if_none_match=""))
    assert (page.headers["Vary"], page.headers["Content-Security-Policy"]) == ("Accept-Language", "default-src 'none'")


@pytest.mark.parametrize(
    "refusal",
    [Refusal("overloaded", "full", retry_after_s=5), Refusal("too-many-connections", "x", retry_after_s=5), Refusal("request-timeout", "late")],
    ids=["overloaded", "too-many", "late"],
)
def test_what_never_became_a_request_is_answered_all_the_same(refusal: Refusal) -> None:
    wire = Wire(Replies("w1").raw(refusal))
    assert (wire.status, wire.headers["Connection"]) == (refusal.problem.status, "close")
    assert wire.headers["Content-Type"] == "application/problem+json"
    assert wire.headers["Retry-After"] == (None if refusal.retry_after_s is None else str(refusal.retry_after_s))
    assert wire.document["code"] == refusal.problem.code


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.lang: str | None = None
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.lang = dict(attrs).get("lang", self.lang)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("code", PROBLEMS)
@pytest.mark.parametrize("lang", ["ko", "en"])
def test_the_page_of_a_problem(code: str, lang: str) -> None:
    page = _Tags()
    page.feed(problem_page(code, lang).decode())
    page.close()
    problem = PROBLEMS[code]
    assert (page.lang, page.open) == (lang, [])
    for text in (problem.title_ko, problem.remedy_ko) if lang == "ko" else (problem.title, problem.remedy):
        assert text in page.text
    assert code in page.text


def test_there_is_no_page_for_what_is_no_problem() -> None:
    with pytest.raises(KeyError):
        problem_page("no-such-code", "en")
