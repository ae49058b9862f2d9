"""The phone that behaves: what it sends next, and how long it waits."""

import json
import uuid
from dataclasses import asdict

import pytest

from examples.phone import BACKOFF_S, RETRY_S, Known, Phone, application, run

PLACE = {"state": "waiting", "ahead": 10, "p50_s": 5, "p90_s": 9, "poll_after_s": 2.5, "sign_age_ms": 3}


def phone() -> Phone:
    return Phone("signup", Known(str(uuid.uuid4()), application()))


def test_it_joins_looks_knocks_and_signs_up() -> None:
    mine = phone()
    ask = mine.ask()
    assert (ask.method, ask.path, ask.body) == ("POST", "/v1/rooms/signup/tickets", {"join_id": mine.known.join_id})
    assert mine.heard(201, {}, {"ticket": "T", **PLACE}) == 2.5
    ask = mine.ask()
    assert (ask.method, ask.path, ask.headers) == ("GET", "/v1/rooms/signup/place", {"Waiting-Room-Ticket": "T"})
    assert mine.heard(200, {}, {**PLACE, "state": "called", "poll_after_s": 0.0}) == 0.0
    ask = mine.ask()
    assert (ask.method, ask.path) == ("POST", "/v1/rooms/signup/passes")
    assert mine.heard(201, {}, {"pass": "P", "expires_at": ""}) == 0.0
    ask = mine.ask()
    assert (ask.path, ask.headers, ask.body) == ("/v1/signups", {"Waiting-Room-Pass": "P"}, mine.known.application)
    mine.heard(202, {}, {})
    assert mine.is_over
    assert mine.known.is_done


def test_on_a_quiet_day_it_signs_up_at_once() -> None:
    mine = phone()
    assert mine.heard(201, {}, {"ticket": "T", "pass": "P", **PLACE}) == 0.0
    assert mine.ask().path == "/v1/signups"


@pytest.mark.parametrize(
    ("status", "code"), [(429, "not-your-turn"), (503, "overloaded"), (503, "line-full"), (503, "room-closed"), (429, "rate-limited"), (503, "not-durable")]
)
@pytest.mark.parametrize(("ticket", "pass_text"), [("", ""), ("T", ""), ("T", "P")])
def test_it_waits_as_long_as_it_is_told_and_sends_the_same_again(status: int, code: str, ticket: str, pass_text: str) -> None:
    mine = phone()
    mine.known.ticket, mine.known.pass_text = ticket, pass_text
    ask = mine.ask()
    assert mine.heard(status, {"Retry-After": "7"}, {"code": code}) == 7.0
    assert mine.ask() == ask
    assert mine.heard(status, {"Retry-After": "soon"}, {"code": code}) == RETRY_S


def test_a_closed_room_costs_it_neither_its_join_id_nor_its_place() -> None:
    mine = phone()
    join_id = mine.known.join_id
    assert mine.heard(503, {"Retry-After": "300"}, {"code": "room-closed"}) == 300.0
    assert (mine.is_shut_out, mine.is_over, mine.ask().body) == (True, False, {"join_id": join_id})
    assert mine.heard(503, {"Retry-After": "1"}, {"code": "overloaded"}) == 1.0
    assert not mine.is_shut_out
    mine.heard(201, {}, {"ticket": "T", **PLACE})
    assert mine.heard(200, {}, {**PLACE, "state": "closed"}) == 2.5
    assert (mine.is_shut_out, mine.known.ticket, mine.ask().path) == (True, "T", "/v1/rooms/signup/place")
    assert mine.heard(429, {"Retry-After": "5"}, {"code": "not-your-turn", "state": "closed"}) == 5.0
    mine.heard(200, {}, {**PLACE, "state": "called", "poll_after_s": 0.0})
    assert (mine.is_shut_out, mine.ask().path) == (False, "/v1/rooms/signup/passes")


def test_it_says_in_words_that_the_room_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, said = phone(), list[str]()
    answers = iter([(503, {"Retry-After": "300"}, {"code": "room-closed"}), (201, {}, {"ticket": "T", **PLACE, "state": "closed"}), (422, {}, {"code": "x"})])
    monkeypatch.setattr("examples.phone.send", lambda *_: next(answers))
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert not run("http://gateway.test", mine, lambda _: None, said.append)
    assert [line for line in said if "closed:" in line] == [
        "the room is closed: nobody new may join; asking again in 300 s",
        "the room is closed: your place is kept; asking again in 2 s",
    ]


def test_told_that_it_is_not_called_any_more_it_looks() -> None:
    mine = phone()
    mine.heard(201, {}, {"ticket": "T", **PLACE, "state": "called"})
    assert mine.heard(429, {"Retry-After": "3"}, {"code": "not-your-turn", "state": "waiting", "ahead": 4}) == 3.0
    assert mine.ask().path.endswith("/place")


@pytest.mark.parametrize("code", ["pass-expired", "pass-invalid", "pass-required"])
def test_a_pass_that_is_no_good_is_fetched_again_with_the_same_ticket(code: str) -> None:
    mine = phone()
    mine.known.ticket, mine.known.pass_text = "T", "P"
    mine.heard(403, {}, {"code": code})
    assert mine.ask().path.endswith("/passes")
    assert mine.known.ticket == "T"


@pytest.mark.parametrize("code", ["ticket-epoch", "ticket-room", "ticket-invalid", "ticket-revoked"])
def test_only_a_ticket_of_no_use_makes_it_join_anew(code: str) -> None:
    mine = phone()
    mine.known.ticket, before = "T", mine.known.join_id
    mine.heard(403, {}, {"code": code})
    assert mine.ask().path.endswith("/tickets")
    assert mine.known.join_id != before


def test_a_provisional_ticket_is_exchanged() -> None:
    mine = phone()
    assert mine.heard(201, {}, {"ticket": "provisional", "state": "provisional", "poll_after_s": 5.0}) == 5.0
    mine.heard(200, {}, {"ticket": "real", **PLACE})
    assert mine.known.ticket == "real"


def test_what_is_wrong_with_the_application_is_told_and_not_repeated() -> None:
    mine = phone()
    mine.known.ticket, mine.known.pass_text = "T", "P"
    mine.heard(422, {}, {"code": "invalid", "errors": [{"pointer": "/name"}]})
    assert mine.is_over
    assert "/name" in mine.known.failed


def test_without_an_answer_it_waits_longer_each_time_and_forgets_that_with_the_first() -> None:
    mine = phone()
    waits_s = [mine.missed() for _ in range(10)]
    assert all(most / 2 <= wait_s <= most for wait_s, most in zip(waits_s, (*BACKOFF_S, *[BACKOFF_S[-1]] * 5), strict=True))
    mine.heard(200, {}, PLACE)
    assert mine.missed() <= BACKOFF_S[0]


def test_what_it_knows_survives_a_restart() -> None:
    mine = phone()
    mine.heard(201, {}, {"ticket": "T", **PLACE})
    again = Phone("signup", Known(**json.loads(json.dumps(asdict(mine.known)))))
    assert again.ask().headers == {"Waiting-Room-Ticket": "T"}
