"""How much may be in flight, and who is refused first.  benchmarks/simulate_overload.py has the crowds."""

import itertools
import math
from typing import Literal, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.overload import BINS, OPEN, Controller, End, Policy, Rank, Window, bar_for, next_limit, raised, share_of, sheds_backfill

POLICY = Policy()
RANKED = (Rank.SIGNUP, Rank.JOIN, Rank.SYNC)
QUIET = Window(span_s=0.5, samples=100, answered=100, slow=0, latency_sum_s=0.5, peak=64, still=50.0, slow_before=0, lag_s=0.0)

shares = st.integers(0, 2**48 - 1).map(lambda number: number / 2**48)
times_s = st.one_of(st.floats(0, 0.2), st.floats(-5, 5), st.floats(-1e6, 1e6))


class Act(NamedTuple):
    """Something that happens, so long after the last."""

    kind: Literal["crowd", "finish", "lag"]
    step_s: float
    rank: Rank = Rank.SYNC
    times: int = 1
    amount_s: float = 0.0
    end: End = End.ANSWERED


KINDS: tuple[Literal["crowd", "finish", "lag"], ...] = ("crowd", "finish", "lag")
waits_s = st.one_of(st.floats(0, 1), st.floats(0, 1e4))
histories = st.lists(st.builds(Act, st.sampled_from(KINDS), times_s, st.sampled_from(Rank), st.integers(1, 200), waits_s, st.sampled_from(End)), max_size=50)


def play(history: list[Act]) -> tuple[Controller, float]:
    """A controller after this, and the time by then."""
    controller, now_s = Controller(POLICY, 0.0), 0.0
    for act in history:
        now_s += act.step_s
        if act.kind == "lag":
            controller.lagged(now_s, act.amount_s)
        for number in range(act.times):
            if act.kind == "crowd" and controller.is_admitted(act.rank, number / 200, now_s) and act.rank:
                controller.admitted()
            if act.kind == "finish" and controller.in_flight:
                controller.finished(now_s, act.amount_s, act.end)
        assert POLICY.limit_min <= controller.limit <= POLICY.limit_max
        assert POLICY.target_s <= controller.target_s <= POLICY.target_max_s
        assert 0 <= controller.pressure <= 1
        assert controller.is_open == (controller.admitted_share(Rank.SYNC) == 1.0)
    return controller, now_s


def run(controller: Controller, from_s: float, seconds: float, *, per_s: int, latency_s: float, end: End = End.ANSWERED) -> float:
    """Evenly spread syncs, each answered after `latency_s`; returns the time by then."""
    waiting: list[float] = []
    for number in range(int(seconds * per_s)):
        now_s = from_s + number / per_s
        while waiting and waiting[0] + latency_s <= now_s:
            waiting.pop(0)
            controller.finished(now_s, latency_s, end)
        if controller.is_admitted(Rank.SYNC, number * 0.618 % 1, now_s):
            controller.admitted()
            waiting.append(now_s)
    for _ in waiting:
        controller.finished(from_s + seconds, latency_s, end)
    return from_s + seconds


def overloaded(*, per_s: int = 100, capacity_per_s: int = 20, seconds: float = 20.0) -> Controller:
    """A controller before a store of one line that takes a fifth of what comes."""
    controller, line = Controller(POLICY, 0.0), list[float]()
    free_s = 0.0
    for number in range(int(seconds * per_s)):
        now_s = number / per_s
        while line and free_s <= now_s:
            controller.finished(now_s, now_s - line.pop(0), End.ANSWERED)
            free_s += 1 / capacity_per_s
        if controller.is_admitted(Rank.SYNC, number * 0.618 % 1, now_s):
            controller.admitted()
            if not line:
                free_s = now_s + 1 / capacity_per_s
            line.append(now_s)
    return controller


# Whatever happens


@given(histories)
@example([Act("crowd", 0.0, times=200), Act("finish", -1e6, end=End.LOST), Act("lag", 1e6, amount_s=1.0)])
def test_limit_target_and_pressure_stay_in_their_bounds(history: list[Act]) -> None:
    play(history)


@given(histories, shares, shares)
def test_a_more_important_rank_is_never_refused_while_a_less_important_one_passes(history: list[Act], share: float, other: float) -> None:
    controller, now_s = play(history)
    # In either order of asking: to be asked moves nothing within the tick.
    controller.is_admitted(Rank.SYNC, 0.0, now_s)
    for more, less in itertools.combinations(Rank, 2):
        if controller.is_admitted(less, other, now_s):
            assert controller.is_admitted(more, share, now_s), (more, less)


@given(histories, st.sampled_from(RANKED), shares)
def test_who_is_turned_away_at_once_would_not_have_been_admitted(history: list[Act], rank: Rank, share: float) -> None:
    controller, now_s = play(history)
    if controller.is_turned_away(rank, share, now_s):
        assert not controller.is_open
        assert not controller.is_admitted(rank, share, now_s)


@given(histories, st.sampled_from(RANKED), shares)
def test_within_a_rank_who_stands_lower_passes_if_anybody_does(history: list[Act], rank: Rank, share: float) -> None:
    controller, now_s = play(history)
    controller.is_admitted(rank, 0.0, now_s)
    if controller.is_admitted(rank, share, now_s):
        assert controller.is_admitted(rank, share / 2, now_s)


@given(histories)
def test_the_cheap_ones_always_pass(history: list[Act]) -> None:
    controller, now_s = play(history)
    assert controller.is_admitted(Rank.CHEAP, 0.999, now_s)


@given(histories, st.sampled_from(RANKED))
def test_however_many_come_no_rank_fills_more_than_its_bound(history: list[Act], rank: Rank) -> None:
    controller, now_s = play(history)
    controller.is_admitted(rank, 0.0, now_s)
    before, bound = controller.in_flight, POLICY.reserves[rank] * (controller.limit + 1)
    while controller.is_admitted(rank, 0.0, now_s):
        controller.admitted()
    assert controller.in_flight <= max(before, math.ceil(bound))


# How much


@pytest.mark.parametrize(
    ("window", "want"),
    [
        (QUIET._replace(samples=200, answered=200), 128.0),  # used and quick: twice as much
        (QUIET, 100.0),  # but no more than twice what 200/s prove
        (QUIET._replace(samples=10, answered=10, latency_sum_s=0.05), 64.0),  # which is no reason to cut
        (QUIET._replace(latency_sum_s=20.0), 80.0),  # 0.2 s: as much more as the target leaves
        (QUIET._replace(latency_sum_s=60.0), 64.0),  # a few slow ones: above the target nothing grows
        (QUIET._replace(peak=47), 64.0),  # hardly used: nothing is known
        (QUIET._replace(slow=50, latency_sum_s=20.0), 80.0),  # half is no majority
        (QUIET._replace(slow=51, answered=100), 50.0),  # 200/s × 0.25 s
        (QUIET._replace(slow=51, answered=49), 32.0),  # at most halved
        (QUIET._replace(slow=100, answered=0), 32.0),  # all lost
        (QUIET._replace(slow=100, answered=100, still=15.0), 64.0),  # the queue has gone by itself
        (QUIET._replace(slow=100, answered=100, slow_before=8), 4.0),  # nothing helps: a probe
        (QUIET._replace(samples=7, slow=7, answered=0), 64.0),  # too few to tell
        (QUIET._replace(lag_s=0.051), 51.2),
        (QUIET._replace(lag_s=0.051, peak=20), 16.0),  # from what was in flight
        (QUIET._replace(lag_s=0.051, peak=10), 64.0),  # hardly anything was: somebody else held the core
        (QUIET._replace(lag_s=0.03), 64.0),  # late, but not too late: no more
    ],
)
def test_the_table(window: Window, want: float) -> None:
    assert next_limit(POLICY, 64.0, 0.25, window) == pytest.approx(want)


def test_an_unused_limit_ages_no_further_than_where_it_began() -> None:
    idle = QUIET._replace(peak=5)
    assert next_limit(POLICY, 1_000.0, 0.25, idle) == 980.0
    assert next_limit(POLICY, 64.5, 0.25, idle) == 64.0
    assert [next_limit(POLICY, at, 0.25, idle) for at in (30.0, 40.0, 64.0)] == [60.0, 64.0, 64.0]  # from below too, and no further


def test_idle_never_grows_it() -> None:
    """Quick answers, days of them, few in flight."""
    controller = Controller(POLICY, 0.0)
    now_s = run(controller, 0.0, 120.0, per_s=50, latency_s=0.005)
    assert controller.limit == POLICY.limit_start
    now_s = run(controller, now_s + 86_400, 10.0, per_s=50, latency_s=0.005)
    assert controller.limit == POLICY.limit_start
    assert controller.is_admitted(Rank.SYNC, 0.999, now_s)


def test_it_grows_while_it_is_used_and_answers_are_quick() -> None:
    controller = Controller(POLICY, 0.0)
    run(controller, 0.0, 10.0, per_s=4_000, latency_s=0.05)
    assert 200 < controller.limit <= 600  # 200 are in flight; 64 would have refused two thirds
    assert controller.admitted_share(Rank.SYNC) == 1.0


def test_one_slow_outlier_changes_nothing() -> None:
    controller = Controller(POLICY, 0.0)
    now_s = run(controller, 0.0, 5.0, per_s=100, latency_s=0.005)
    controller.admitted()
    controller.finished(now_s, 4.9, End.ANSWERED)
    run(controller, now_s, 5.0, per_s=100, latency_s=0.005)
    assert (controller.limit, controller.admitted_share(Rank.SYNC)) == (POLICY.limit_start, 1.0)


@pytest.mark.parametrize(("lags_s", "is_cut"), [((1.0, 0.0) * 50, False), ((0.06,) * 100, True), ((0.04,) * 100, False)])
def test_one_stall_of_the_loop_is_forgiven_and_a_lasting_one_is_not(lags_s: tuple[float, ...], is_cut: bool) -> None:
    controller = Controller(POLICY, 0.0)
    for _ in range(20):
        controller.admitted()
    for number, lag_s in enumerate(lags_s):
        controller.lagged(number / 10, lag_s)
    assert (controller.limit < POLICY.limit_start) == is_cut


def test_a_lasting_overload_holds_the_limit_near_what_is_acknowledged_in_one_target() -> None:
    """And teaches no baseline: after ten minutes the wait aimed at is still the first one."""
    for seconds in (20.0, 600.0):
        controller = overloaded(seconds=seconds)
        assert controller.target_s < 0.5
        assert POLICY.limit_min <= controller.limit <= 4 * 20 * POLICY.target_s
        assert controller.in_flight <= 20
        assert 0.05 < controller.admitted_share(Rank.SYNC) < 0.6
        assert controller.pressure > 0.5


def test_what_it_knew_of_a_far_store_fades_when_that_store_is_overloaded() -> None:
    controller = Controller(POLICY, 0.0)
    now_s = run(controller, 0.0, 40.0, per_s=400, latency_s=0.3)
    assert controller.target_s > POLICY.target_s
    run(controller, now_s, 60.0, per_s=400, latency_s=2.0, end=End.LOST)
    assert controller.target_s == POLICY.target_s


def test_lost_answers_cut_like_slow_ones() -> None:
    controller = Controller(POLICY, 0.0)
    run(controller, 0.0, 20.0, per_s=100, latency_s=0.2, end=End.LOST)
    assert controller.limit == POLICY.limit_min


def test_what_never_reached_the_store_says_nothing_of_it() -> None:
    controller = Controller(POLICY, 0.0)
    run(controller, 0.0, 20.0, per_s=100, latency_s=0.2, end=End.IGNORED)
    assert (controller.limit, controller.in_flight) == (POLICY.limit_start, 0)


def test_within_five_seconds_of_its_end_an_overload_is_over() -> None:
    controller = overloaded()
    while controller.in_flight:
        controller.finished(20.0, 1.0, End.ANSWERED)
    now_s = run(controller, 20.0, 5.0, per_s=1_000, latency_s=0.01)
    assert controller.admitted_share(Rank.SYNC) == 1.0
    assert controller.pressure < 0.5
    assert controller.is_admitted(Rank.SYNC, 0.999, now_s)


def test_a_store_that_is_far_but_wide_is_told_from_a_queue() -> None:
    """300 ms whatever is in flight: a probe finds that out, and the target follows."""
    controller = Controller(POLICY, 0.0)
    run(controller, 0.0, 40.0, per_s=400, latency_s=0.3)
    assert controller.target_s > 0.4
    assert controller.limit >= 120
    assert controller.admitted_share(Rank.SYNC) == 1.0


@pytest.mark.parametrize("jump_s", [-1e6, -1.0, -0.01, 1e6, 1e300])
def test_a_clock_that_steps_stops_nothing(jump_s: float) -> None:
    controller = overloaded()
    while controller.in_flight:
        controller.finished(20.0, 1.0, End.ANSWERED)
    now_s = run(controller, 20.0 + jump_s, 6.0, per_s=500, latency_s=0.01) if abs(jump_s) < 1e9 else jump_s
    controller.is_admitted(Rank.SYNC, 0.999, now_s)
    if abs(jump_s) < 1e9:
        assert controller.admitted_share(Rank.SYNC) == 1.0


# Who


counts = st.lists(st.integers(0, 50).map(float), min_size=3 * BINS, max_size=3 * BINS)
budget = st.floats(-100, 6_000)


@given(counts, st.tuples(budget, budget, budget).map(lambda three: sorted(three, reverse=True)))
def test_those_below_the_bar_are_no_more_than_the_budget_and_hardly_fewer(offered: list[float], budgets: list[float]) -> None:
    bar = bar_for(offered, budgets)
    whole, part = divmod((bar - 1) * BINS, 1)
    below = sum(offered[: int(whole)]) + (offered[int(whole)] * part if bar < OPEN else 0.0)
    place = min(int(bar) - 1, 2)
    # More than its own budget only because more important ones had a larger one.
    assert below <= max(budgets[place], sum(offered[: place * BINS])) + 1e-6
    if bar < OPEN and bar > place + 1:
        assert below >= budgets[place] - 1e-6


@pytest.mark.parametrize(("bar", "want"), [(1.0, 1.01), (3.0, 3.01), (3.4, 3.5), (3.9, 4.0), (2.99, 3.0), (OPEN, OPEN)])
def test_an_empty_house_raises_the_bar_by_a_quarter(bar: float, want: float) -> None:
    assert raised(bar) == pytest.approx(want)


@given(st.text(st.characters(codec="utf-8"), max_size=400), st.integers(0, 10**6), st.binary(min_size=1, max_size=64))
def test_a_share_is_in_its_interval_and_stays_for_an_hour(token: str, hour: int, secret: bytes) -> None:
    share = share_of(token, hour, secret)
    assert 0 <= share < 1
    assert Rank.SYNC + share < OPEN  # 48 bits: none is rounded up
    assert int((Rank.SYNC - 1 + share) * BINS) < 3 * BINS
    assert share_of(token, hour, secret) == share
    assert share_of(token, hour + 1, secret) != share
    assert share_of(token, hour, secret + b"x" if len(secret) < 64 else b"x") != share


def test_a_header_that_is_no_utf8_has_a_share_too() -> None:
    assert 0 <= share_of("Bearer \udcff\udc80", 1, b"s") < 1


def test_shares_are_even() -> None:
    found = sorted(share_of(f"Bearer {number}", 490_000, b"secret") for number in range(2_000))
    assert max(abs(share - number / 2_000) for number, share in enumerate(found)) < 0.04  # Kolmogorov, one in 1,000: 0.044


def test_who_stands_above_the_bar_is_refused_though_there_is_room() -> None:
    controller = overloaded()
    while controller.in_flight:
        controller.finished(19.999, 0.3, End.ANSWERED)
    assert not controller.is_admitted(Rank.SYNC, 0.999, 19.999)
    assert controller.is_admitted(Rank.SYNC, 0.0, 19.999)


@given(shares)
def test_retries_within_an_hour_share_one_fate_at_constant_pressure(share: float) -> None:
    """Asked ten times in one tick and in the next ones, as long as the bar stands."""
    controller = overloaded(seconds=5.0)
    bar = 3 + controller.admitted_share(Rank.SYNC)
    answers = {controller.is_admitted(Rank.SYNC, share, 4.99) for _ in range(10)}
    assert len(answers) == 1
    assert answers == {3 + share < bar} or controller.in_flight >= controller.limit


def test_the_bar_climbs_until_everybody_has_been_served() -> None:
    """1,000 people, each with one sync, asking every second; 50 are stored a second.  Lowest first, all in the end."""
    controller, waiting, line = Controller(POLICY, 0.0), [number / 1_000 for number in range(1_000)], list[tuple[float, float]]()
    stored: list[float] = []
    for tick in range(60 * 50):
        now_s = tick / 50
        if line:
            came_s, share = line.pop(0)
            controller.finished(now_s, now_s - came_s, End.ANSWERED)
            stored.append(share)
        asking = [share for number, share in enumerate(waiting) if number % 50 == tick % 50]
        for share in asking:
            if controller.is_admitted(Rank.SYNC, share, now_s):
                controller.admitted()
                line.append((now_s, share))
                waiting.remove(share)
    assert not waiting
    assert len(stored) == 1_000
    late = stored[200:]  # the first moment has no order: nothing was known
    assert sum(share < 0.5 for share in late[:300]) > 200


@given(st.floats(0, 1), st.integers(-2, 400))
def test_today_and_yesterday_are_never_shed(pressure: float, age_days: int) -> None:
    if age_days <= 1:
        assert not sheds_backfill(pressure, age_days)
    elif sheds_backfill(pressure, age_days):
        assert sheds_backfill(pressure, age_days + 1)
        assert sheds_backfill(min(pressure + 0.1, 1.0), age_days)


@pytest.mark.parametrize(
    ("pressure", "age_days", "want"), [(0.29, 400, False), (0.3, 8, True), (0.3, 7, False), (0.4, 2, True), (0.39, 2, False), (1.0, 1, False)]
)
def test_backfill_is_shed_oldest_first(pressure: float, age_days: int, want: bool) -> None:
    assert sheds_backfill(pressure, age_days) == want


@given(histories)
def test_backfill_is_shed_before_any_sync_is(history: list[Act]) -> None:
    controller, _ = play(history)
    if controller.admitted_share(Rank.SYNC) < 1:
        assert sheds_backfill(controller.pressure, 2)


def test_a_policy_is_consistent() -> None:
    assert list(POLICY.reserves) == sorted(POLICY.reserves, reverse=True)
    assert math.isinf(POLICY.reserves[Rank.CHEAP])
    assert POLICY.target_s < POLICY.target_max_s < 5.0


def test_a_stall_of_an_idle_worker_costs_the_first_crowd_nothing() -> None:
    """Somebody else held the core: nothing that was in flight here caused it."""
    controller = Controller(POLICY, 0.0)
    for number in range(40):
        controller.lagged(number / 10, 0.06)
    assert controller.limit == POLICY.limit_start


def test_a_limit_that_is_not_used_goes_back_to_where_it_began() -> None:
    """From below too, within a few windows: a crowd is not to meet what one bad minute left."""
    limit = POLICY.limit_min
    for _ in range(8):
        limit = next_limit(POLICY, limit, POLICY.target_s, QUIET._replace(samples=0, answered=0, peak=0))
    assert limit == POLICY.limit_start
