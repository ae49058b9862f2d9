"""users.py: what people send and when, and the fate of what they sent; in virtual time, against a scripted gateway."""

import base64
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.people import Walked, instant_s
from examples.phone import Known, Phone
from loadtests.crowd.payloads import Payloads, Secret, Tokens
from loadtests.crowd.sender import Answer
from loadtests.crowd.users import IMPATIENT_S, Applicant, Arrival, Crowd, habits
from loadtests.recording import Call, Fate, of_payload, payload_id
from loadtests.scenario import Gateway, Manners, Scenario, Slo, Stream

RUN = 77
KEY = base64.urlsafe_b64encode(b"k" * 32).decode().rstrip("=")
BEGAN_S = 1_797_552_000.0
Reply = tuple[int, dict[str, str], Any]


class Virtual:
    """A clock that rests at once."""

    def __init__(self, ends_s: float = 1_000.0) -> None:
        self.at_s, self.ends_s = 0.0, ends_s

    def now_s(self) -> float:
        return self.at_s

    def rest_until(self, at_s: float) -> bool:
        self.at_s = min(max(at_s, self.at_s), self.ends_s)
        return self.at_s < self.ends_s

    def together(self, lives: Sequence[Callable[[], None]]) -> None:
        for life in lives:
            life()


class Scripted:
    """Answers as `reply` says, after ten milliseconds."""

    def __init__(self, clock: Virtual, reply: Callable[[str, bytes, int], Reply]) -> None:
        self._clock, self._reply = clock, reply
        self.seen: list[tuple[float, str, bytes]] = []

    def send(self, content: bytes) -> Answer:
        sent_s, line = self._clock.now_s(), content.split(b" HTTP/1.1", 1)[0].decode()
        self.seen.append((sent_s, line, content))
        status, headers, body = self._reply(line, content, sum(line == other for _, other, _ in self.seen))
        self._clock.at_s += 0.01
        return Answer(status, headers, json.dumps(body).encode() if body is not None else b"", sent_s, self._clock.now_s())


def crowd(kind: Any, reply: Callable[[str, bytes, int], Reply], *, has_room: bool = False, ends_s: float = 1_000.0, samples: int = 1, **manners: Any) -> Crowd:
    stream = Stream("s", kind, times="x", manners=Manners(**manners), members=10, samples=samples)
    gateway = Gateway(settings={"room": {"name": "signup"}} if has_room else {})
    scenario = Scenario("t", "w", 5, [stream], [Slo("m", at_most=1.0)], gateway=gateway)
    clock = Virtual(ends_s)
    payloads = Payloads(scenario, RUN, BEGAN_S, "gateway.test", "", Tokens(Secret(KEY), int(BEGAN_S)))
    return Crowd(scenario, payloads, Scripted(clock, reply), clock)


def arrive(one: Crowd, number: int = 3, ordinal: int = 0) -> tuple[list[Any], list[Any], Walked | None]:
    """(calls, fates, walked)."""
    one.arrive(Arrival(number, 0, ordinal, 0.0))
    assert one.errors == []
    assert one.present == one.waiting == 0
    return list(one.book.calls.since(0)), [row.item() for row in one.book.fates.since(0)], one.people[0] if one.people else None


def always(status: int, body: Any = None, **headers: str) -> Callable[[str, bytes, int], Reply]:
    return lambda *_: (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def test_a_sync_is_a_members_and_a_repeat_is_the_same_to_the_byte() -> None:
    """Two refusals, each obeyed; then accepted."""
    replies = iter([(503, {"Retry-After": "7"}, {"outcome": "none"}), (429, {"Retry-After": "2"}, {}), (202, {}, {"results": []})])
    one = crowd("sync", lambda *_: next(replies), tries=3, samples=2)
    calls, fates, _ = arrive(one, ordinal=14)
    sent = one.sender.seen  # type: ignore[attr-defined]
    assert [round(at_s, 2) for at_s, _, _ in sent] == [0.0, 7.01, 9.02]
    assert len({content for _, _, content in sent}) == 1
    head, _, body = sent[0][2].partition(b"\r\n\r\n")
    token = head.partition(b"Bearer ")[2].partition(b"\r\n")[0].decode()
    options: Any = {"verify_exp": False, "verify_iat": False}
    assert jwt.decode(token, b"k" * 32, ["HS256"], audience="sluicegate", issuer="sluicegate", options=options)["sub"] == "member-4"
    told = json.loads(body)
    assert told["device_id"] == "member-4"
    assert [sample["seq"] for sample in told["samples"]] == [2, 3]
    assert [of_payload(payload_id(RUN, 3, sample)) for sample in range(2)] == [(RUN, 3, 0), (RUN, 3, 1)]
    assert [sample["id"] for sample in told["samples"]] == [str(payload_id(RUN, 3, sample)) for sample in range(2)]
    assert [row["tries"] for row in calls] == [1, 2, 3]
    assert [round(float(row["meant_s"]), 2) for row in calls] == [0.0, 7.01, 9.02]
    assert [math.isnan(row["late_s"]) for row in calls] == [False, True, True]
    assert fates == [(0, 3, 0, Fate.ACCEPTED), (0, 3, 1, Fate.ACCEPTED)]


def test_before_a_closed_room_an_applicant_comes_again_as_the_same_person_and_keeps_the_place() -> None:
    """Turned away, told to come later; then a place while it is closed, looked after until it opens."""
    place = {"ahead": 3, "p50_s": 1, "p90_s": 1, "poll_after_s": 2.0}
    ticket = base64.urlsafe_b64encode(b"\x10" * 17 + (9).to_bytes(8, "big") + b"\0" * 23).decode()
    replies = {
        "tickets": iter([(503, {"Retry-After": "300"}, {"code": "room-closed"}), (200, {}, {"ticket": ticket, "state": "closed", **place})]),
        "place": iter([(200, {}, {"state": "closed", **place}), (200, {}, {"state": "called", **place, "poll_after_s": 0.0})]),
        "passes": iter([(201, {}, {"pass": "P", "expires_at": ""})]),
        "signups": iter([(202, {}, {})]),
    }
    one = crowd("applicant", lambda line, *_: next(replies[line.rpartition("/")[2]]), has_room=True, form_s=1.0)
    calls, fates, walked = arrive(one)
    asked = [(round(at_s), line.rpartition("/")[2]) for at_s, line, _ in one.sender.seen]  # type: ignore[attr-defined]
    assert asked[:5] == [(0, "tickets"), (300, "tickets"), (302, "place"), (304, "place"), (304, "passes")]
    joins = [content.partition(b"\r\n\r\n")[2] for _, line, content in one.sender.seen if line.endswith("tickets")]  # type: ignore[attr-defined]
    assert len(set(joins)) == 1
    assert [row["status"] for row in calls] == [503, 200, 200, 200, 201, 202]
    assert walked is not None
    assert (walked.failed, [fate[3] for fate in fates]) == ("", [Fate.ACCEPTED])


@pytest.mark.parametrize(
    ("manners", "at_s"),
    [
        ({"tries": 1}, [0.0]),
        ({"tries": 2}, [0.0, 9.01]),
        ({"tries": 3, "impatient": 1.0}, [0.0, 2.01, 4.02]),
        ({"tries": 1, "blind": 1.0, "blind_tries": 3}, [0.0, 0.01, 0.02]),
        ({"tries": 9, "leaves": 1.0, "within_s": 5.0}, [0.0]),
    ],
)
def test_who_is_refused_comes_again_as_their_manners_say(manners: dict[str, Any], at_s: list[float]) -> None:
    one = crowd("sync", always(503, Retry_After="9"), **manners)
    _, fates, _ = arrive(one)
    assert [round(at, 2) for at, _, _ in one.sender.seen] == at_s  # type: ignore[attr-defined]
    assert fates == [(0, 3, 0, Fate.REFUSED)]


def line(line_: str, _content: bytes, times: int) -> Reply:
    """A gateway's room: two looks, one knock too soon, then a pass."""
    place = {"ticket": base64.urlsafe_b64encode(b"\x10" * 17 + (9).to_bytes(8, "big") + b"\0" * 23).decode(), "p50_s": 40}
    if line_.endswith("/tickets"):
        return 201, {}, {**place, "state": "waiting", "poll_after_s": 10}
    if line_.endswith("/place"):
        return 200, {}, {**place, "state": "called" if times == 2 else "waiting", "poll_after_s": 5, "p50_s": 3}
    if line_.endswith("/passes"):
        refused: Reply = (429, {"Retry-After": "4"}, {"code": "not-your-turn", "state": "called"})
        return refused if times == 1 else (201, {}, {"pass": "P", "released_at": "2026-12-18T06:00:00+09:00"})
    return 202, {}, {"durability": "kafka"}


def test_an_applicant_joins_looks_knocks_fills_in_and_signs_up() -> None:
    one = crowd("applicant", line, has_room=True, form_s=10.0)
    calls, fates, walked = arrive(one)
    form_s = habits(5, 3, Manners(form_s=10.0)).form_s
    assert [Call(row["call"]) for row in calls] == [Call.TICKETS, Call.PLACE, Call.PLACE, Call.PASSES, Call.PASSES, Call.SIGNUPS]
    due = [0.0, 10.01, 15.02, 15.03, 19.04, 19.05 + form_s]
    assert [float(row["meant_s"]) for row in calls] == pytest.approx(due, abs=0.001)
    assert [row["tries"] for row in calls] == [1, 1, 1, 1, 2, 1]
    assert walked is not None
    assert (walked.place, walked.knocks, walked.estimated_s, walked.arrival) == (9, 2, 40.0, 3)
    assert walked.joined_s <= walked.called_s <= walked.passed_s <= walked.done_s
    assert walked.released_s == 1797541200.0
    assert fates == [(0, 3, 0, Fate.ACCEPTED)]
    body = one.sender.seen[-1][2].partition(b"\r\n\r\n")[2]  # type: ignore[attr-defined]
    assert json.loads(body)["signup_id"] == str(payload_id(RUN, 3, 0))


def test_three_tabs_are_one_person_with_one_application() -> None:
    one = crowd("applicant", line, has_room=True, tabs=1.0)
    calls, fates, walked = arrive(one)
    assert len(one.people) == 1
    assert walked is not None
    assert Counter(row["call"] for row in calls)[Call.SIGNUPS] == len(fates) == 1
    assert sum(not math.isnan(row["late_s"]) for row in calls) == 1


@pytest.mark.parametrize("manners", [{"tabs": 1.0}, {"impatient": 1.0}])
def test_a_tab_that_has_not_heard_of_the_call_does_not_take_it_back(manners: dict[str, Any]) -> None:
    """Who has one tab only is told otherwise by the gateway itself."""
    applicant = Applicant(crowd("applicant", line, has_room=True, **manners), Arrival(3, 0, 0, 0.0))
    phones = [Phone("signup", Known("j", {})) for _ in range(2)]
    phones[0].state = "called"
    applicant._note(phones[0])
    called_s = applicant.walked.called_s
    assert called_s > 0
    applicant._note(phones[1])
    assert applicant.walked.called_s == (called_s if "tabs" in manners else 0.0)


def second(number: int) -> str:
    return f"2026-12-18T06:00:0{number}+09:00"


@pytest.mark.parametrize(("released", "again"), [([1, 5, 9], [5, 9]), ([1, 1, 9], [9]), ([1, 5, 5], [5]), ([1, 1, 1], [])])
def test_every_pass_that_was_released_is_written_down_once(released: list[int], again: list[int]) -> None:
    """Two expired before the sign-up; one that is only repeated is no other."""
    passes, signups = iter(released), iter([403, 403, 202])

    def expiring(line_: str, content: bytes, times: int) -> Reply:
        if line_.endswith("/passes"):
            return 201, {}, {"pass": f"P{(number := next(passes))}", "released_at": second(number)}
        if line_.endswith("/signups"):
            status = next(signups)
            return status, {}, {"code": "pass-expired"} if status == 403 else {"durability": "kafka"}
        return line(line_, content, times)

    _, fates, walked = arrive(crowd("applicant", expiring, has_room=True))
    assert walked is not None
    assert walked.released_s == instant_s(second(1))
    assert walked.released_again == [instant_s(second(number)) for number in again]
    assert fates == [(0, 3, 0, Fate.ACCEPTED)]


def test_a_pass_that_a_second_tab_is_told_later_is_no_other() -> None:
    """The gateway tells each when it told them, and both the same pass."""
    applicant = Applicant(crowd("applicant", line, has_room=True, tabs=1.0), Arrival(3, 0, 0, 0.0))
    for number in (1, 2, 3):
        applicant._passed(Phone("signup", Known("j", {}, pass_text="P")), {"released_at": second(number)})
    assert (applicant.walked.released_s, applicant.walked.released_again) == (instant_s(second(1)), [])


@pytest.mark.parametrize(("ends_s", "manners"), [(12.0, {}), (1_000.0, {"leaves": 1.0, "within_s": 3.0})])
def test_who_never_comes_to_sign_up_leaves_no_payload(ends_s: float, manners: dict[str, Any]) -> None:
    _, fates, walked = arrive(crowd("applicant", line, has_room=True, ends_s=ends_s, **manners))
    assert fates == []
    assert walked is not None
    assert (walked.done_s, bool(walked.left_s)) == (0.0, "leaves" in manners)


def test_who_sleeps_asks_nothing_and_comes_back() -> None:
    one = crowd("applicant", line, has_room=True, sleeps=1.0, within_s=1.0, sleep_s=(100.0, 100.0))
    calls, fates, walked = arrive(one)
    assert walked is not None
    assert len(walked.away) == 1
    assert [round(float(row["meant_s"])) for row in calls[:2]] == [0, 110]
    assert fates == [(0, 3, 0, Fate.ACCEPTED)]


def test_an_impatient_one_looks_every_two_seconds() -> None:
    calls, _, _ = arrive(crowd("applicant", line, has_room=True, impatient=1.0))
    assert [float(row["meant_s"]) for row in calls[:3]] == pytest.approx([0.0, IMPATIENT_S + 0.01, 2 * IMPATIENT_S + 0.02])


def test_a_pass_in_hand_is_not_sent_for_ever() -> None:
    def refusing(line_: str, content: bytes, times: int) -> Reply:
        return (503, {"Retry-After": "1"}, {"outcome": "unknown"}) if line_.endswith("/signups") else line(line_, content, times)

    calls, fates, _ = arrive(crowd("applicant", refusing, has_room=True, tries=3))
    assert Counter(row["call"] for row in calls)[Call.SIGNUPS] == 3
    assert fates == [(0, 3, 0, Fate.UNKNOWN)]


def test_without_a_room_applicants_sign_up_at_once_and_strangers_always() -> None:
    for kind, status, fate in (("applicant", 202, Fate.ACCEPTED), ("stranger", 403, Fate.REFUSED)):
        one = crowd(kind, always(status, {"code": "pass-required"}), has_room=kind == "stranger")
        calls, fates, _ = arrive(one)
        assert [Call(row["call"]) for row in calls] == [Call.SIGNUPS]
        assert b"Waiting-Room-Pass" not in one.sender.seen[0][2]  # type: ignore[attr-defined]
        assert fates == [(0, 3, 0, fate)]


def test_a_forgers_token_is_anothers() -> None:
    one = crowd("forger", always(401, {"code": "token-invalid"}))
    _, fates, _ = arrive(one)
    token = one.sender.seen[0][2].partition(b"Bearer ")[2].partition(b"\r\n")[0].decode()  # type: ignore[attr-defined]
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, b"k" * 32, ["HS256"], audience="sluicegate")
    assert fates == [(0, 3, 0, Fate.REFUSED)]


@given(st.integers(0, 2**32 - 1))
def test_habits_are_drawn_in_their_shares_from_seed_and_number(seed: int) -> None:
    manners = Manners(impatient=0.1, leaves=0.15, sleeps=0.1, tabs=0.05, blind=0.2, form_s=15.0)
    drawn = [habits(seed, number, manners) for number in range(600)]
    assert drawn == [habits(seed, number, manners) for number in range(600)]
    counts = Counter[str](habit.manner for habit in drawn)
    for manner, share in {"impatient": 0.1, "leaves": 0.15, "sleeps": 0.1, "tabs": 0.05, "blind": 0.2, "obeys": 0.4}.items():
        assert abs(counts[manner] - 600 * share) < 6 * math.sqrt(600 * share)
    assert 13 < sum(habit.form_s for habit in drawn) / 600 < 17
