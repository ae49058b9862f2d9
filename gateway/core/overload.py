"""How much may be in flight, and who is refused first when that is less than what comes.

Pure: no clock, no await, no random.  `now_s` is monotonic seconds and comes in; one
Controller per worker; the only secret (of `share_of`) is the same in all of them.

How much: `limit`, requests admitted and not yet answered.  Every half second:

    most answers slower than the target, or lost → what is acknowledged in one target time (Little's law)
    the event loop late twice in a row           → four fifths of what was in flight
    quick answers, and the limit was in use      → up to twice as much, and twice what was acknowledged in one target time
    hardly used                                  → slowly back to where it began: untested knowledge ages (RFC 7661)

The target is a share of the deadline, or thrice the wait without queueing where that is longer, itself
bounded; a store that is merely far away is told from a queue by a probe.  Chosen by
benchmarks/simulate_overload.py, which prints the figures.  AIMD does as well at 100/s and more from a
near store; at 10/s it loses answers, and a far store (300 ms) it takes for a queue, for a quarter of
the goodput.  Gradient and Vegas have no target but a baseline: at 50 times the load it has followed
the queue up, to waits of a second.

Who: one number, the bar, over one line on which everybody has a fixed place:

    0 cheap     1 sign-ups     2 joins     3 syncs         4
    |-----------|--------------|-----------|------▲--------|      rank + share < bar → admitted
    place, sign, page, passes: always             bar: three fifths of the syncs pass

Ten times a second the bar is put where those below it are as many as can be taken now (DAGOR,
WeChat 2018).  Whose steps are in asks no more, so the bar climbs through a crowd: everybody's turn
comes.  Above it stands a hard bound per rank, larger for the more important ones: their reserve.
Both have the order of the ranks, so a sign-up is never refused while a sync would be admitted.

Not decided here: bytes held and drains (admission.py).  Retry-After too is admission.py's: count
the cost of who is refused here in `Load.refused_bytes`, as of everybody else.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum, IntEnum
from hashlib import blake2b
from typing import Final, NamedTuple


class Rank(IntEnum):
    """What a request is for, the most important first."""

    CHEAP = 0  # place, sign, page, passes: never refused here, their own budgets cap them
    SIGNUP = 1  # with a pass
    JOIN = 2
    SYNC = 3


class End(Enum):
    """How an admitted request ended: what its time says about the store."""

    ANSWERED = "answered"  # acknowledged: its latency is a sample
    SPOOLED = "spooled"  # durable, but it waited for Kafka as long as it may, and then for a disk: no sample of either
    LOST = "lost"  # its time was up, or the store failed: as good as a slow answer
    IGNORED = "ignored"  # it never reached the store (401, 422, a client that left, a join): no sample


class Policy(NamedTuple):
    """The numbers, each with its reason.  Counts are requests of one worker."""

    limit_min: float = 4.0  # 2 workers and a store that takes 10/s: 0.8 s, still an answer in time
    limit_start: float = 64.0  # a worker's 4,000/s at 5 ms are 20 in flight
    limit_max: float = 2_000.0  # half a second without an ack at 4,000/s
    target_s: float = 0.25  # a twentieth of deliver.timeout_ms: the store may become ten times slower and all in flight are answered in time
    target_max_s: float = 1.0  # deliver.stall_ms: a store whose every ack takes longer is not slow but stalled
    baseline_times: float = 3.0  # with one batch in flight and one that fills, a wait is up to twice a round trip without any queue
    lag_target_s: float = 0.05  # ten times the ack; longer, and the wait is ours instead of the store's
    window_s: float = 0.5  # longer than two waits at the target: each change is seen before the next
    samples_min: int = 8  # fewer have no majority worth the name; a slow outlier is one
    grow_max: float = 2.0  # per window: from limit_min to limit_max in 5 s
    cut_max: float = 0.5  # per window: what a window of a few answers shows is uncertain by that much
    probe_windows: int = 8  # 4 s: longer than a store that became ten times slower needs for what is in flight
    lag_factor: float = 0.8
    unused_factor: float = 0.98  # per window: half in 17 s
    used_share: float = 0.75  # of the limit, at the peak: then it was in use
    unused_share: float = 0.25
    drained_share: float = 0.25
    full_share: float = 0.8  # of a bound: what the bar aims at; the rest is for bursts, who would meet first come first served
    idle_share: float = 0.6  # below it the bar does not creep but climbs
    reserves: tuple[float, ...] = (math.inf, 3.0, 1.5, 1.0)  # by rank: how often the limit; a sign-up still passes just after the limit was halved


class Window(NamedTuple):
    """What half a second showed."""

    span_s: float
    samples: int
    answered: int  # of the samples; the others are lost
    slow: int  # of the samples: above the target, or lost
    latency_sum_s: float  # of the answered
    peak: int  # the most in flight at once
    still: float  # in flight at its end, as arrivals saw it
    slow_before: int  # windows in a row just before it that were slow
    lag_s: float  # of the event loop; the smaller of the last two, because one stall is no overload

    @property
    def is_slow(self) -> bool:
        """Most of them: neither one outlier nor a pause of the store, which delays few, is enough."""
        return 2 * self.slow > self.samples


# A store that stops answering keeps each request for deliver.hedge_ms, and costs none of them its answer: a worker's 2,000/s
# for 250 ms.  What that lets through at the beginning of an overload is cut by the first half second's answers.
WITH_SPOOL: Final = Policy(limit_start=512.0)

Learn = Callable[[Policy, float, float, Window], float]
"""(policy, limit, target_s, window) → the next limit, bounds aside."""

TICK_S: Final = 0.1  # between two moves of the bar: a tenth of its memory
MEMORY_S: Final = 1.0  # of what was offered and what left: enough to count, short enough to follow
BINS: Final = 32  # per rank; within a bin shares count as even
BACKFILL_PRESSURE: Final = 0.3  # from here on some of it waits
OPEN: Final = 4.0  # the bar above everybody
_RANKED: Final = (Rank.SIGNUP, Rank.JOIN, Rank.SYNC)
_BASELINE_RISE: Final = 0.5  # per window; it falls at once
_BASELINE_FADES: Final = 0.95  # per slow window: half in 14, and a wrong one is forgotten within a minute


def next_limit(policy: Policy, limit: float, target_s: float, window: Window) -> float:
    """The limit after this window, bounds aside."""
    if window.lag_s > policy.lag_target_s and window.peak >= policy.unused_share * limit:
        # Not where hardly anything was in flight: somebody else held the core, and who comes next would pay for it.  From what was in flight: a limit far above it would be cut for long without effect.
        return min(limit, window.peak) * policy.lag_factor
    if window.samples >= policy.samples_min:
        if window.is_slow:
            return _cut(policy, limit, target_s, window)
        if window.peak >= policy.used_share * limit and window.lag_s <= policy.lag_target_s / 2:
            return _grown(policy, limit, target_s, window)
    if window.peak < policy.unused_share * limit:
        # Back to where it began: slowly from above, at once from below, so that a crowd does not meet what one bad minute left.
        return max(limit * policy.unused_factor, policy.limit_start) if limit > policy.limit_start else min(limit * policy.grow_max, policy.limit_start)
    return limit


def _grown(policy: Policy, limit: float, target_s: float, window: Window) -> float:
    mean_s = window.latency_sum_s / window.answered  # at least half of the samples
    grown = limit * min(max(target_s / max(mean_s, 1e-6), 1.0), policy.grow_max)
    # What was acknowledged is proof of so much; more is hope, and a store that slows down just then would pay for it.
    return max(min(grown, window.answered / window.span_s * target_s * policy.grow_max), limit)


def _cut(policy: Policy, limit: float, target_s: float, window: Window) -> float:
    if window.still < policy.drained_share * limit:
        return limit  # the queue has gone by itself: the store paused, and no more
    if window.slow_before >= policy.probe_windows:
        return policy.limit_min  # nothing helped: is it a queue at all?  The quickest answer of a few will tell
    return min(limit, max(window.answered / window.span_s * target_s, limit * policy.cut_max))


def bar_for(offered: Sequence[float], budgets: Sequence[float]) -> float:
    """Where the bar stands so that those below it are no more than the budget.

    Args:
        offered: requests by rank and share, BINS a rank, SIGNUP first.
        budgets: per rank from SIGNUP, for it and all before it; not falling towards SIGNUP.
    """
    before = 0.0
    for place, rank in enumerate(_RANKED):
        bins = offered[place * BINS : (place + 1) * BINS]
        total = sum(bins)
        left = max(budgets[place] - before, 0.0)
        if total > left:
            for index, count in enumerate(bins):
                if count > left:
                    return rank + (index + left / count) / BINS
                left -= count
        before += total
    return OPEN


def raised(bar: float) -> float:
    """The bar with a quarter more of its rank below it: from a hundredth to all in two seconds."""
    rank = math.floor(bar)
    return min(rank + max((bar - rank) * 1.25, 0.01), rank + 1.0, OPEN)


def share_of(token: str, hour: int, secret: bytes) -> float:
    """The place of a person within the rank, in [0, 1): the same for all their retries of this hour.

    Args:
        token: the raw text of what names them: Authorization, Waiting-Room-Pass, for a join their address.
        hour: hours since the epoch: who stands last does not do so for ever.
        secret: up to 64 bytes, the same in every worker and on every machine; else a retry would meet another fate.
    """
    text = token.encode("utf-8", "surrogateescape")  # as aiohttp reads headers
    digest = blake2b(text, digest_size=6, key=secret, salt=hour.to_bytes(8, "big")).digest()
    return int.from_bytes(digest, "big") / 2**48


def sheds_backfill(pressure: float, age_days: int) -> bool:
    """Whether a sample of a day so long ago is answered `retry`, the oldest first; today and yesterday never are.

    The phone keeps it.  It happens before any sync is refused: the bar falls at a pressure of 0.4 and more.
    """
    return (age_days > 7 and pressure >= BACKFILL_PRESSURE) or (age_days > 1 and pressure >= 0.4)


class Controller:
    """The limit and the bar of one worker.

    Per request: `is_admitted`; if nobody else refuses it, `admitted`; whatever becomes of it, `finished`.
    Between the first two nothing is awaited.  `lagged` ten times a second or so.
    """

    def __init__(self, policy: Policy, now_s: float, learn: Learn = next_limit) -> None:
        assert 0 < policy.limit_min <= policy.limit_start <= policy.limit_max, policy
        self._policy = policy
        self._learn = learn
        self.in_flight = 0
        self.pressure = 0.0  # up to 0.5: how full the limit is; above: how much of the line stands above the bar
        self.is_open = True  # nobody is refused for their place in the rank
        self._bar = OPEN
        # The tick: only noted while it lasts, counted when it is over
        self._tick_s = now_s
        self._arrived: list[int] = []  # the bin of each
        self._met: list[int] = []  # what each found in flight
        self._ends: list[float] = []  # how long each took; math.inf: lost; below 0: ignored
        # The bar's second
        self._span_s = 0.0
        self._offered = [0.0] * (BINS * len(_RANKED))
        self._ended = 0.0
        self._mean = 0.0
        # The limit's half second
        self._target_s = policy.target_s
        self._baseline_s = 0.0
        self._slow_before = 0
        self._lag_s = self._last_lag_s = 0.0
        self._peak = 0
        self._latency_min_s = math.inf
        self._clear(now_s)
        self._set_limit(policy.limit_start)

    # What is asked

    @property
    def limit(self) -> int:
        """How many may be in flight."""
        return int(self._limit)

    @property
    def target_s(self) -> float:
        """The wait that is still no overload."""
        return self._target_s

    def admitted_share(self, rank: Rank) -> float:
        """How much of this rank the bar lets pass; for metrics."""
        return min(max(self._bar - rank, 0.0), 1.0)

    def is_admitted(self, rank: Rank, share: float, now_s: float) -> bool:
        """Whether it may pass; counts as offered either way.

        Args: share: from `share_of`.
        """
        if not rank:
            return True
        if not 0.0 <= now_s - self._tick_s < TICK_S:
            self._turn(now_s)
        in_flight = self.in_flight
        self._arrived.append(int((rank - 1 + share) * BINS))
        self._met.append(in_flight)
        return rank + share < self._bar and in_flight < self._bounds[rank]

    def is_turned_away(self, rank: Rank, share: float, now_s: float) -> bool:
        """Whether the bar keeps it out; counts as offered only then, for else `is_admitted` will be asked."""
        if not 0.0 <= now_s - self._tick_s < TICK_S:
            self._turn(now_s)
        return rank + share >= self._bar and not self.is_admitted(rank, share, now_s)

    # What has happened

    def admitted(self) -> None:
        """It passes."""
        self.in_flight = in_flight = self.in_flight + 1
        if in_flight > self._peak:  # noqa: PLR1730 - max() would cost as much as all the rest
            self._peak = in_flight

    def paused(self) -> None:
        """It waits for its sender, and takes nothing of the store; `admitted` again when it goes on."""
        self.in_flight -= 1

    def finished(self, now_s: float, latency_s: float, end: End) -> None:
        """It has been answered, so long after all of it had come."""
        self.in_flight -= 1
        self._ends.append(latency_s if end is End.ANSWERED else math.inf if end is End.LOST else -1.0)
        if not 0.0 <= now_s - self._tick_s < TICK_S:
            self._turn(now_s)

    def lagged(self, now_s: float, lag_s: float) -> None:
        """The event loop was so late."""
        self._lag_s, self._last_lag_s = min(self._last_lag_s, lag_s), lag_s
        if not 0.0 <= now_s - self._tick_s < TICK_S:
            self._turn(now_s)

    # Ten times a second

    def _turn(self, now_s: float) -> None:
        """Count the tick, move the bar, and the limit when its window is over."""
        # A clock that stepped back begins a tick anew; nothing waits for it to come round again.
        passed_s = max(now_s - self._tick_s, 0.0)
        self._tick_s = now_s
        self._span_s += min(passed_s, MEMORY_S)
        self._count()
        if not 0.0 <= now_s - self._window_s < self._window_length_s:
            self._judge(now_s)
        self._move_bar()
        self._forget(passed_s)

    def _count(self) -> None:
        for place, times in Counter(self._arrived).items():
            self._offered[place] += times
        # Arrivals see what is in flight as it is on average, between the rounds of acks too.
        self._mean = sum(self._met) / len(self._met) if self._met else float(self.in_flight)
        taken_s = [end_s for end_s in self._ends if end_s >= 0.0]
        answered_s = [end_s for end_s in taken_s if end_s < math.inf]
        self._ended += len(self._ends)
        self._samples += len(taken_s)
        self._answered += len(answered_s)
        self._slow += len([1 for end_s in taken_s if end_s > self._target_s])
        self._latency_sum_s += sum(answered_s)
        self._latency_min_s = min([self._latency_min_s, *answered_s])
        self._arrived, self._met, self._ends = [], [], []

    def _move_bar(self) -> None:
        policy, mean = self._policy, self._mean
        fill = mean / self._limit
        if self._bar < OPEN or fill >= policy.full_share:
            # What leaves may come, and what is missing within one target time.
            seconds = self._span_s / self._target_s
            budgets = [self._ended + (bound * policy.full_share - mean) * seconds for bound in self._bounds[1:]]
            bar = bar_for(self._offered, budgets)
            if fill < policy.idle_share:
                # Who has been served is gone, and those below the bar are fewer than a second ago: it must not only creep.
                bar = max(bar, raised(self._bar))
            self._bar = bar
            self.is_open = bar == OPEN
        self.pressure = min(fill, 1.0) / 2 if self.is_open else 0.5 + (OPEN - self._bar) / (OPEN - 1) / 2

    def _forget(self, passed_s: float) -> None:
        keep = math.exp(-passed_s / MEMORY_S)
        self._offered = [count * keep for count in self._offered]
        self._ended *= keep
        self._span_s *= keep

    def _judge(self, now_s: float) -> None:
        """Learn from the window, unless it has too few answers and nothing else to say."""
        policy, limit = self._policy, self._limit
        span_s = now_s - self._window_s
        window = Window(
            max(span_s, TICK_S), self._samples, self._answered, self._slow, self._latency_sum_s, self._peak, self._mean, self._slow_before, self._lag_s
        )
        if window.samples < policy.samples_min and window.lag_s <= policy.lag_target_s and 0 <= span_s < policy.target_max_s * 5:
            return
        self._set_limit(self._learn(policy, limit, self._target_s, window))
        self._learn_baseline(window)
        self._slow_before = self._slow_before + 1 if window.is_slow and window.samples else 0
        self._clear(now_s)

    def _learn_baseline(self, window: Window) -> None:
        """The quickest answer that did not queue: one while the limit was hardly used, or while it was probed.

        Under overload neither is so: what it knew fades instead of rising with the queue.
        """
        policy = self._policy
        is_idle = window.peak <= self._limit / 2
        is_probed = window.slow_before > policy.probe_windows and window.is_slow
        if (is_idle or is_probed) and window.answered >= policy.samples_min:
            self._baseline_s = min(self._latency_min_s, self._baseline_s + _BASELINE_RISE * (self._latency_min_s - self._baseline_s))
        elif window.is_slow:
            self._baseline_s *= _BASELINE_FADES
        self._target_s = min(max(policy.baseline_times * self._baseline_s, policy.target_s), policy.target_max_s)

    def _set_limit(self, limit: float) -> None:
        policy = self._policy
        self._limit = min(max(limit, policy.limit_min), policy.limit_max)
        self._bounds = [self._limit * reserve for reserve in policy.reserves]

    def _clear(self, now_s: float) -> None:
        self._window_s = now_s
        self._window_length_s = max(self._policy.window_s, self._target_s)
        self._samples = self._answered = self._slow = 0
        self._latency_sum_s, self._latency_min_s = 0.0, math.inf
        self._peak = self.in_flight
