"""The door's rate: always within bounds, always with a reason, never two changes in a second.  loadtests/simulate/pace.py has the world."""

import itertools
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.pace import (
    SECOND_US,
    Counts,
    Meter,
    Orders,
    Pace,
    Policy,
    Reading,
    Reason,
    feed_forward,
    next_pace,
)
from loadtests.simulate.pace import COMPLETING, LAWS, SCENARIOS, Scenario, form_times, lines, live, simulate

POLICY = Policy()
ORDERS = Orders(floor_per_s=10.0, ceiling_per_s=400.0)
BALANCE = Reading(at_us=0, takes_per_s=200.0, consumed_per_s=200.0, lag=2_000, signups_per_pass=0.8)
AT_US = 1_766_300_000_000_000
STEADY = Pace(250.0, Reason.CONSUMPTION, AT_US - 60 * SECOND_US, AT_US - 60 * SECOND_US)

rates = st.floats(0.01, 10_000)
orders = st.builds(
    lambda one, other, told, is_paused, is_closed: Orders(min(one, other), max(one, other), told, is_paused, is_closed),
    rates,
    rates,
    st.none() | st.floats(-10, 20_000),
    st.booleans(),
    st.sampled_from([False, False, True]),
)
readings = st.none() | st.builds(
    Reading, st.integers(-10, 10), st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e7), st.floats(0.25, 2), st.floats(0, 600), st.floats(0, 1e6)
)


class Call(NamedTuple):
    """One tick, so long after the last."""

    step_us: int
    reading: Reading | None  # its time is in seconds before or after the call
    acks_stopped: bool
    sheds: bool
    spool_fills: bool = False


steps_us = st.one_of(st.integers(0, 3 * SECOND_US), st.integers(-(10**9), 10**9))
histories = st.lists(st.builds(Call, steps_us, readings, st.booleans(), st.booleans(), st.booleans()), max_size=40)


def play(given_orders: Orders, history: list[Call]) -> list[tuple[int, Pace]]:
    """(time, pace) after each call, the opening first."""
    now_us, pace = AT_US, Pace.opening(given_orders.floor_per_s, AT_US)
    seen = [(now_us, pace)]
    for call in history:
        now_us += call.step_us
        reading = call.reading and call.reading._replace(at_us=now_us + call.reading.at_us * SECOND_US)
        pace = next_pace(POLICY, given_orders, pace, now_us, reading, acks_stopped=call.acks_stopped, sheds=call.sheds, spool_fills=call.spool_fills)
        seen.append((now_us, pace))
    return seen


def paced(
    pace: Pace = STEADY,
    given_orders: Orders = ORDERS,
    reading: Reading | None = BALANCE,
    *,
    age_s: float = 0.5,
    after_s: float = 0.0,
    acks: bool = False,
    sheds: bool = False,
    fills: bool = False,
) -> tuple[float, Reason]:
    """The next rate and its reason."""
    now_us = AT_US + int(after_s * SECOND_US)
    seen = reading and reading._replace(at_us=now_us - int(age_s * SECOND_US))
    found = next_pace(POLICY, given_orders, pace, now_us, seen, acks_stopped=acks, sheds=sheds, spool_fills=fills)
    return round(found.rate_per_s, 6), found.reason


# Whatever happens


@given(orders, histories)
def test_the_rate_stays_between_floor_and_ceiling(given_orders: Orders, history: list[Call]) -> None:
    for _, pace in play(given_orders, history):
        assert given_orders.floor_per_s <= pace.rate_per_s <= given_orders.ceiling_per_s


@given(orders, histories)
@example(ORDERS, [Call(SECOND_US, None, acks_stopped=True, sheds=False)] * 3)
@example(ORDERS._replace(told_per_s=50.0), [Call(SECOND_US - 1, None, acks_stopped=False, sheds=False)] * 3)
@example(ORDERS._replace(told_per_s=50.0), [Call(SECOND_US, None, False, False), Call(-(10**9), None, False, False), Call(0, None, True, False)])
def test_it_changes_at_most_once_a_second(given_orders: Orders, history: list[Call]) -> None:
    """Also across a clock that steps back: what counts is the time that went forwards."""
    went_us = 0
    for (before_us, before), (now_us, pace) in itertools.pairwise(play(given_orders, history)):
        went_us += max(now_us - before_us, 0)
        if pace.rate_per_s != before.rate_per_s:
            assert went_us >= SECOND_US
            went_us = 0


@given(orders, histories)
def test_times_of_a_pace_are_never_ahead_of_its_call(given_orders: Orders, history: list[Call]) -> None:
    """A clock that stepped back an hour would otherwise hold the rate for an hour; a pause alone reads no clock."""
    for now_us, pace in play(given_orders._replace(is_paused=False, is_closed=False), history):
        assert pace.since_us <= pace.changed_us <= now_us


@given(orders, histories, orders)
def test_new_bounds_hold_within_a_second(given_orders: Orders, history: list[Call], other: Orders) -> None:
    now_us, pace = play(given_orders, history)[-1]
    other = other._replace(is_paused=False, is_closed=False)
    if pace.changed_us <= now_us:
        pace = next_pace(POLICY, other, pace, now_us + SECOND_US, None, acks_stopped=False, sheds=False)
        assert other.floor_per_s <= pace.rate_per_s <= other.ceiling_per_s


def test_reasons_keep_their_numbers() -> None:
    """A gauge tells each by its number, and boards and dashboards outlive a version: a new one is the last."""
    assert [reason.value for reason in Reason] == [
        *("paused", "told", "acks-stopped", "overload", "lag-unknown", "climbing", "floor", "ceiling", "consumption"),
        *("closed", "spool-filling"),
    ]


@given(orders, histories)
def test_each_reason_says_what_is_so(given_orders: Orders, history: list[Call]) -> None:
    seen = play(given_orders, history)
    for call, ((_, before), (_, pace)) in zip(history, itertools.pairwise(seen), strict=True):
        if pace.reason is not before.reason:
            assert is_so(pace, before, call, given_orders), (before, pace, call)


def is_so(pace: Pace, before: Pace, call: Call, given_orders: Orders) -> bool:
    """Whether the reason of a change is the one there was."""
    return {
        Reason.CLOSED: given_orders.is_closed and pace.rate_per_s == before.rate_per_s,
        Reason.PAUSED: given_orders.is_paused and not given_orders.is_closed and pace.rate_per_s == before.rate_per_s,
        Reason.TOLD: given_orders.told_per_s is not None,
        Reason.ACKS_STOPPED: call.acks_stopped,
        Reason.SPOOL_FILLING: call.spool_fills and not call.acks_stopped,
        Reason.OVERLOAD: call.sheds and not (call.acks_stopped or call.spool_fills),
        Reason.LAG_UNKNOWN: call.reading is None or abs(call.reading.at_us) > POLICY.stale_s,
        Reason.FLOOR: pace.rate_per_s == given_orders.floor_per_s,
        Reason.CEILING: pace.rate_per_s == given_orders.ceiling_per_s,
        Reason.CLIMBING: before.rate_per_s < pace.rate_per_s <= before.rate_per_s * POLICY.rise_max,
        Reason.CONSUMPTION: call.reading is not None and not (call.acks_stopped or call.spool_fills or call.sheds),
    }[pace.reason]


@given(st.floats(0, 1e4), st.floats(0, 1e6), st.floats(0, 1e5), st.floats(0.25, 2))
def test_a_longer_lag_never_opens_the_door_wider(takes_per_s: float, lag: float, more: float, signups_per_pass: float) -> None:
    """Nor do more people on their way, nor does a larger share who complete."""
    reading = Reading(0, takes_per_s, takes_per_s, lag, signups_per_pass, 60.0, 0.0)
    rate_per_s = feed_forward(POLICY, reading, 1.0)
    assert feed_forward(POLICY, reading._replace(lag=lag + more), 1.0) <= rate_per_s
    assert feed_forward(POLICY, reading._replace(on_way=more), 1.0) <= rate_per_s
    assert feed_forward(POLICY, reading._replace(signups_per_pass=signups_per_pass * 1.1), 1.0) <= rate_per_s


# One call


@pytest.mark.parametrize(
    ("call", "want"),
    [
        ({}, (250.0, Reason.CONSUMPTION)),  # 200/s ÷ 0.8
        ({"reading": BALANCE._replace(lag=3_500)}, (187.5, Reason.CONSUMPTION)),  # 1,500 too many in 30 s
        ({"reading": BALANCE._replace(lag=500_000)}, (125.0, Reason.CONSUMPTION)),  # no less than half
        ({"reading": BALANCE._replace(lag=1_400)}, (275.0, Reason.CONSUMPTION)),
        ({"reading": BALANCE._replace(lag=0)}, (275.0, Reason.CLIMBING)),  # 333 is wanted
        ({"reading": BALANCE._replace(form_s=60.0, on_way=12_000.0)}, (250.0, Reason.CONSUMPTION)),  # as many as belong there
        ({"reading": BALANCE._replace(form_s=60.0, on_way=13_500.0)}, (187.5, Reason.CONSUMPTION)),
        ({"reading": BALANCE._replace(takes_per_s=204.0)}, (250.0, Reason.CONSUMPTION)),  # 2 % is noise
        ({"reading": BALANCE._replace(takes_per_s=205.0)}, (256.25, Reason.CONSUMPTION)),
        ({"reading": BALANCE._replace(takes_per_s=150.0, consumed_per_s=160.0, lag=2_000)}, (187.5, Reason.CONSUMPTION)),  # busy: shown what it takes
        ({"reading": BALANCE._replace(takes_per_s=150.0, consumed_per_s=160.0, lag=2_000, is_busy=False)}, (260.0, Reason.CONSUMPTION)),  # 1.3 x 160 ÷ 0.8
        (
            {"reading": BALANCE._replace(takes_per_s=200.0, consumed_per_s=100.0, lag=2_000, is_busy=False)},
            (250.0, Reason.CONSUMPTION),
        ),  # not below what it takes
        ({"reading": BALANCE._replace(takes_per_s=0.0, lag=9_000)}, (10.0, Reason.FLOOR)),
        ({"reading": BALANCE._replace(takes_per_s=900.0), "pace": STEADY._replace(rate_per_s=390.0)}, (400.0, Reason.CEILING)),
        ({"reading": None}, (250.0, Reason.LAG_UNKNOWN)),
        ({"age_s": 5.0}, (250.0, Reason.CONSUMPTION)),
        ({"age_s": 5.1}, (250.0, Reason.LAG_UNKNOWN)),
        ({"age_s": -5.1}, (250.0, Reason.LAG_UNKNOWN)),  # of a clock that has stepped back since
        ({"acks": True}, (125.0, Reason.ACKS_STOPPED)),
        ({"acks": True, "sheds": True, "reading": None}, (125.0, Reason.ACKS_STOPPED)),  # the faster cut
        ({"acks": True, "pace": STEADY._replace(rate_per_s=12.0)}, (10.0, Reason.ACKS_STOPPED)),
        ({"fills": True}, (125.0, Reason.SPOOL_FILLING)),
        ({"fills": True, "sheds": True}, (125.0, Reason.SPOOL_FILLING)),
        ({"fills": True, "acks": True}, (125.0, Reason.ACKS_STOPPED)),  # what fills it has the name
        ({"fills": True, "given_orders": ORDERS._replace(told_per_s=120.0)}, (120.0, Reason.TOLD)),
        ({"sheds": True}, (200.0, Reason.OVERLOAD)),
        ({"given_orders": ORDERS._replace(told_per_s=120.0)}, (120.0, Reason.TOLD)),
        ({"given_orders": ORDERS._replace(told_per_s=120.0), "acks": True, "reading": None}, (120.0, Reason.TOLD)),
        ({"given_orders": ORDERS._replace(told_per_s=9_999.0)}, (400.0, Reason.TOLD)),
        ({"given_orders": ORDERS._replace(told_per_s=0.0)}, (10.0, Reason.TOLD)),
        ({"given_orders": ORDERS._replace(told_per_s=120.0, is_paused=True)}, (250.0, Reason.PAUSED)),
        ({"given_orders": ORDERS._replace(told_per_s=120.0, is_closed=True)}, (250.0, Reason.CLOSED)),
        ({"given_orders": ORDERS._replace(is_paused=True, is_closed=True)}, (250.0, Reason.CLOSED)),
        ({"given_orders": Orders(300.0, 400.0), "reading": None}, (300.0, Reason.LAG_UNKNOWN)),  # the operator raised the floor
        ({"given_orders": Orders(10.0, 100.0), "reading": None}, (100.0, Reason.LAG_UNKNOWN)),
        ({"given_orders": Orders(10.0, 100.0)}, (100.0, Reason.CEILING)),
        ({"given_orders": Orders(300.0, 400.0)}, (300.0, Reason.CLIMBING)),  # to the floor at once, whatever a second may add
        ({"given_orders": Orders(200.0, 200.0)}, (200.0, Reason.CEILING)),
    ],
)
def test_the_table(call: dict[str, object], want: tuple[float, Reason]) -> None:
    assert paced(**call) == want  # type: ignore[arg-type]


def test_a_stop_of_acks_cuts_to_the_floor_in_seconds_and_climbs_back_in_a_minute() -> None:
    """And overload more gently."""
    for acks_stopped, want_s in [(True, 5), (False, 15)]:
        now_us, pace = AT_US, STEADY
        while pace.rate_per_s > ORDERS.floor_per_s:
            pace = next_pace(POLICY, ORDERS, pace, now_us, BALANCE._replace(at_us=now_us), acks_stopped=acks_stopped, sheds=not acks_stopped)
            now_us += SECOND_US
        assert now_us - AT_US == want_s * SECOND_US
        cut_us = now_us
        while pace.rate_per_s < 245:
            pace = next_pace(POLICY, ORDERS, pace, now_us, BALANCE._replace(at_us=now_us), acks_stopped=False, sheds=False)
            now_us += SECOND_US
        assert 30 < (now_us - cut_us) / SECOND_US < 60


def test_a_pause_comes_at_once_and_gives_the_rate_back() -> None:
    """Others wait for their second, a pause does not; and an hour of it is no reason to begin anew."""
    changed = STEADY._replace(changed_us=AT_US)
    assert paced(changed, ORDERS._replace(told_per_s=50.0), after_s=0.9) == (250.0, Reason.CONSUMPTION)
    paused = next_pace(POLICY, ORDERS._replace(is_paused=True), changed, AT_US + 1, None, acks_stopped=False, sheds=False)
    assert paused == Pace(250.0, Reason.PAUSED, AT_US + 1, AT_US + 1)
    assert next_pace(POLICY, ORDERS._replace(is_paused=True), paused, AT_US + SECOND_US, None, acks_stopped=True, sheds=True) is paused
    assert paced(paused, reading=None, after_s=3_600) == (250.0, Reason.LAG_UNKNOWN)
    assert paced(paused, after_s=3_600) == (250.0, Reason.CONSUMPTION)


def test_since_is_of_the_reason_and_not_of_the_rate() -> None:
    first = next_pace(POLICY, ORDERS, STEADY, AT_US, None, acks_stopped=True, sheds=False)
    second = next_pace(POLICY, ORDERS, first, AT_US + SECOND_US, None, acks_stopped=True, sheds=False)
    assert (first.since_us, second.since_us, second.changed_us) == (AT_US, AT_US, AT_US + SECOND_US)


def test_a_clock_that_stepped_back_costs_a_second() -> None:
    ahead = STEADY._replace(since_us=AT_US + 3_600 * SECOND_US, changed_us=AT_US + 3_600 * SECOND_US)
    pace = next_pace(POLICY, ORDERS, ahead, AT_US, None, acks_stopped=True, sheds=False)
    assert pace == STEADY._replace(since_us=AT_US, changed_us=AT_US)
    assert paced(pace, acks=True, after_s=0.999) == (250.0, Reason.CONSUMPTION)
    assert paced(pace, acks=True, after_s=1.0) == (125.0, Reason.ACKS_STOPPED)


def test_a_new_room_begins_at_the_floor_and_amber() -> None:
    assert Pace.opening(ORDERS.floor_per_s, AT_US) == Pace(10.0, Reason.LAG_UNKNOWN, AT_US, AT_US)


# What downstream shows


def counted(meter: Meter, seconds: range, *, per_s: int = 100, lag: int = 1_000, share: float = 1.0, form_s: int = 60) -> list[Reading | None]:
    """An even flow: so many sign-ups a second, of passes a form earlier."""
    people = per_s / share
    return [meter.saw(Counts(s * SECOND_US, per_s * s + lag, per_s * s, int(people * (s + form_s)), per_s * s, per_s * s * form_s)) for s in seconds]


def test_nothing_is_said_before_ten_seconds_have_been_seen() -> None:
    found = counted(Meter(), range(12))
    assert found[:10] == [None] * 10
    assert found[10] == Reading(10 * SECOND_US, 100.0, 100.0, 1_000.0, 1.0)


@pytest.mark.parametrize(("lag", "want"), [(1_000, 100.0), (201, 100.0), (200, 300.0), (0, 300.0)])
def test_what_it_consumes_for_want_of_people_is_not_what_it_takes(lag: int, want: float) -> None:
    """300/s were known: only a downstream that always has work shows that it takes less."""
    found = counted(Meter(takes_per_s=300.0), range(30), lag=lag)[-1]
    assert found
    assert (found.takes_per_s, found.consumed_per_s) == (want, 100.0)


def test_what_it_takes_is_found_from_below_too() -> None:
    found = counted(Meter(takes_per_s=50.0), range(30), lag=0)[-1]
    assert found
    assert found.takes_per_s == 100.0


def test_a_consumer_that_stands_still_takes_nothing() -> None:
    meter = Meter(takes_per_s=100.0)
    found = [meter.saw(Counts(s * SECOND_US, 5_000, 100, 0, 0, 0)) for s in range(30)][-1]
    assert found
    assert (found.takes_per_s, found.lag) == (0.0, 4_900.0)


def test_commits_each_five_seconds_look_like_an_even_flow() -> None:
    meter = Meter()
    for s in range(60):
        found = meter.saw(Counts(s * SECOND_US, 100 * s + 1_000, 100 * (s - s % 5), 0, 0, 0))
        if s >= 20:
            assert found
            assert found.consumed_per_s == pytest.approx(100, rel=0.34)
            assert 1_000 <= found.lag <= 1_300


@pytest.mark.parametrize(("share", "want"), [(0.85, 0.85), (1.0, 1.0), (0.1, 0.25), (1.3, 1.3), (3.0, 2.0)])
@pytest.mark.parametrize("form_s", [0, 20, 60, 180])
def test_the_share_and_the_time_of_forms_are_found(share: float, want: float, form_s: int) -> None:
    """Within bounds: a wrong measure must not open the door at will."""
    found = counted(Meter(), range(1_500), share=share, form_s=form_s)[-1]
    assert found
    assert found.signups_per_pass == pytest.approx(want, rel=0.01)
    assert found.form_s == form_s
    assert found.on_way == pytest.approx(100 / share * form_s * want, rel=0.02)


def test_a_rising_rate_does_not_look_like_people_who_give_up() -> None:
    """Each minute a fifth more pass, each completes after three minutes: the share stays near 1."""
    passes = [0.0]
    for s in range(3_000):
        passes.append(passes[-1] + 10 * 1.2 ** min(s / 60, 15))
    meter, found = Meter(), list[Reading | None]()
    form_s = 0
    for s in range(180, 1_800):
        done = int(passes[s - 180])
        form_s += 180 * (done - int(passes[max(s - 181, 0)]))
        found.append(meter.saw(Counts(s * SECOND_US, done, done, int(passes[s]), done, form_s)))
    assert all(0.97 <= reading.signups_per_pass <= 1.03 for reading in found if reading)


def test_a_few_people_say_nothing_of_the_share() -> None:
    meter = Meter(0.7)
    found = [meter.saw(Counts(s * SECOND_US, s // 20, s // 20, s // 10, s // 20, s)) for s in range(1_500)][-1]
    assert found
    assert (found.signups_per_pass, found.form_s, found.on_way) == (0.7, 0.0, 0.0)


def test_sign_ups_without_passes_say_nothing_of_the_share() -> None:
    """A room that was rebuilt counts its passes anew while forms of before come in."""
    meter = Meter(0.7)
    found = [meter.saw(Counts(s * SECOND_US, s, s, 0, s, s * 60)) for s in range(1_500)][-1]
    assert found
    assert (found.signups_per_pass, found.form_s, found.on_way) == (0.7, 60.0, 0.0)


def test_commits_that_were_read_after_the_ends_are_no_negative_lag() -> None:
    found = counted(Meter(), range(20), lag=-50)[-1]
    assert found
    assert found.lag == 0.0


def test_people_on_their_way_are_not_guessed_at_after_a_restart() -> None:
    """Until a form's time has been seen they would look like none, and the door would open for them again."""
    found = counted(Meter(), range(400), form_s=180)
    assert all(reading.on_way in (0.0, pytest.approx(18_000, rel=0.02)) for reading in found if reading)
    assert {reading.form_s for reading in found if reading and reading.on_way == 0.0} == {0.0}


@pytest.mark.parametrize(
    "then",
    [
        Counts(2_000 * SECOND_US, 200_000, 200_000, 300_000, 200_000, 12_000_000),  # a gap
        Counts(1_500 * SECOND_US, 10, 10, 300_000, 200_000, 12_000_000),  # the topic was made anew
        Counts(1_500 * SECOND_US, 200_000, 10, 300_000, 200_000, 12_000_000),  # the group was set back
        Counts(1_500 * SECOND_US, 200_000, 200_000, 0, 200_000, 12_000_000),  # the room was rebuilt
        Counts(1_500 * SECOND_US, 200_000, 200_000, 300_000, 0, 0),  # the workers' boards are new
        Counts(100 * SECOND_US, 200_000, 200_000, 300_000, 200_000, 12_000_000),  # the clock stepped back
    ],
)
def test_counters_that_fell_begin_anew_and_what_was_learnt_stays(then: Counts) -> None:
    meter = Meter()
    before = counted(meter, range(1_500), share=0.85)[-1]
    assert meter.saw(then) is None
    for s in range(1, 11):
        after = meter.saw(then._replace(at_us=then.at_us + s * SECOND_US, consumed=then.consumed + s))
    assert before
    assert after
    assert after.signups_per_pass == before.signups_per_pass
    assert after.consumed_per_s == 1.0
    assert (after.form_s, after.on_way) == (0.0, 0.0)


# In the world of loadtests/simulate/pace.py


@pytest.mark.parametrize(
    ("scenario", "used", "lag_worst"),
    list(zip(SCENARIOS[:5], (0.97, 0.97, 0.99, 0.99, 0.98), (9_200, 23_600, 9_200, 23_600, 3_500), strict=True)),
    ids=[scenario.name for scenario in SCENARIOS[:5]],
)
def test_downstream_is_used_and_the_lag_is_what_was_past_the_door(scenario: Scenario, used: float, lag_worst: float) -> None:
    """Beyond the target no more than the people who had passed when it slowed down."""
    row = simulate("feed-forward 30 s", scenario)
    assert row.used >= used
    assert row.lag_worst <= lag_worst
    assert row.changes_per_min <= 20


def test_it_comes_to_rest_at_the_target() -> None:
    """Nothing changes downstream: after the first minutes hardly anything changes here."""
    seconds = list(live(Scenario("even", 60, ((0, 200.0),), 1_800), feed_forward, POLICY))
    rested = seconds[900:]
    assert all(second.took == second.could for second in rested)
    assert all(1_000 <= second.lag <= 2_500 for second in rested)
    assert all(second.pace.rate_per_s == pytest.approx(200 / COMPLETING, rel=0.1) for second in rested)
    assert {second.pace.reason for second in rested} <= {Reason.CONSUMPTION, Reason.CLIMBING}


@pytest.mark.parametrize(("known_per_s", "within_s"), [(0.0, 400), (200.0, 150), (400.0, 120)])
def test_from_idle_it_finds_what_downstream_takes(known_per_s: float, within_s: int) -> None:
    row = simulate("feed-forward 30 s", next(scenario for scenario in SCENARIOS if scenario.is_idle and scenario.known_per_s == known_per_s))
    assert row.used_nine_tenths_s <= within_s
    assert row.lag_worst <= 9_200


def test_a_small_target_does_not_keep_the_door_at_what_downstream_took_before_it_recovered() -> None:
    """20/s becomes 200/s, and the lag target is two and a half seconds of that."""
    seconds = list(live(Scenario("up", 30, ((0, 20.0), (300, 200.0)), 900, orders=ORDERS), feed_forward, Policy(lag_target=500)))
    assert sum(second.took for second in seconds[600:]) >= 0.9 * 200 * 300
    assert max(second.lag for second in seconds) <= 500 + (POLICY.probe - 1) * 200.0 * 60


def test_the_others_do_worse() -> None:
    """Else the choice should be made again."""
    ours = [simulate("feed-forward 30 s", scenario) for scenario in SCENARIOS[:2]]
    for name in ("aimd", "consumption 30 s", "consumption 60 s", "slow trim"):
        theirs = [simulate(name, scenario) for scenario in SCENARIOS[:2]]
        assert all(our.used > their.used + 0.03 for our, their in zip(ours, theirs, strict=True)), name


def test_form_times_are_a_distribution_around_their_mean() -> None:
    shares = form_times(60)
    assert sum(shares) == pytest.approx(1)
    assert sum(second * share for second, share in enumerate(shares)) == pytest.approx(60, abs=1)


def test_the_table_has_a_line_for_each() -> None:
    short = Scenario("short", 10, ((0, 50.0),), 60, 0)
    assert len(list(lines(list(LAWS), [short, short]))) == 2 * (1 + len(LAWS))
