"""The one tree of errors, and the one table of problems."""

import re

import pytest

from gateway import errors
from gateway.errors import PROBLEMS, SAMPLE_CODES, BatchRefused, BrokerAway, BrokerError, ConfigError, Problem, Refusal, SluicegateError

HANGUL = re.compile(r"[가-힣]")


def test_the_tree_is_the_one_drawn() -> None:
    assert BrokerAway.__mro__[1:3] == BatchRefused.__mro__[1:3] == (BrokerError, SluicegateError)
    assert ConfigError.__base__ is Refusal.__base__ is SluicegateError
    ours = {thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, Exception)}
    assert {thing.__name__ for thing in ours} == set(
        re.findall(
            r"\w+Error\b|Refusal|BrokerAway|PartitionFailed|BatchRefused|SpoolFull|SpoolFailed|RoomAway|Behind",
            (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0],
        )
    )


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_every_problem_says_what_happened_and_what_to_do_in_two_languages(problem: Problem) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", problem.code)
    assert PROBLEMS[problem.code] is problem
    assert problem.title
    assert problem.remedy
    assert HANGUL.search(problem.title_ko)
    assert HANGUL.search(problem.remedy_ko)
    assert not HANGUL.search(problem.title + problem.remedy)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_what_is_retryable_is_our_trouble_or_a_matter_of_time(problem: Problem) -> None:
    assert problem.retryable == (problem.status in (408, 429) or problem.status >= 500)
    assert ("not retry" in problem.remedy) <= (not problem.retryable)
    assert ("Retry-After" in problem.remedy) == (problem.status in (429, 503))


def test_statuses_are_those_of_the_catalogue() -> None:
    assert {code: problem.status for code, problem in PROBLEMS.items()} == {
        "bad-request": 400,
        "invalid-json": 400,
        "invalid-gzip": 400,
        "token-missing": 401,
        "token-invalid": 401,
        "token-expired": 401,
        "pass-required": 403,
        "pass-invalid": 403,
        "pass-expired": 403,
        "ticket-invalid": 403,
        "ticket-room": 403,
        "ticket-epoch": 403,
        "ticket-revoked": 403,
        "cross-site": 403,
        "not-found": 404,
        "receipt-invalid": 404,
        "method-not-allowed": 405,
        "request-timeout": 408,
        "length-required": 411,
        "body-too-large": 413,
        "rate-limited": 429,
        "not-your-turn": 429,
        "unsupported-media-type": 415,
        "unsupported-encoding": 415,
        "invalid": 422,
        "too-many-connections": 429,
        "internal": 500,
        "overloaded": 503,
        "line-full": 503,
        "room-closed": 503,
        "draining": 503,
        "not-durable": 503,
    }


def test_a_refusal_with_an_unknown_code_is_a_bug_found_at_once() -> None:
    with pytest.raises(KeyError):
        Refusal("no-such-code", "x")


def test_sample_codes_are_explained() -> None:
    assert all(text.endswith(".") for text in SAMPLE_CODES.values())
