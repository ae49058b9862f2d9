"""How fast the door lets people in: what downstream takes, and why it is that fast just now.

Pure: no clock, no await, no random; times come in, in µs of one clock (the store's), rates in people a second.
Decided here: the rate and its reason.  Not decided here: who passes (waiting.py), and how two
supervisors agree (the store compares and sets a whole Pace).

    Meter         1 Hz: counters of Kafka, the door and the workers → a Reading (one Meter per supervisor)
    next_pace     Orders, Reading, the last Pace → the next Pace
    feed_forward  the law between floor and ceiling:

        rate = (takes + missing / horizon) / signups_per_pass
        missing = (lag_target - lag) + (takes x form's time - sign-ups on their way)

`takes` is what downstream consumed when it always had something waiting; what it consumes for want of
people is only a lower bound, so a quiet hour or a pause teaches nothing wrong.  While it wants for people it is sent
three tenths more than it consumes (`probe`): a form later that is what it consumes, or it is busy and has shown what it
takes.  Without that the door stayed for ever at what downstream took before it recovered.  The lag only trims, and
slowly.  People need a minute or more between door and sign-up, and a law that sees the lag alone
corrects again and again what it has corrected already; so those on their way count as well.  How
long a form takes is known because each pass carries its slot.

The first of these that holds:

    closed, paused the operator's states; the rate stays as it was, for when they end
    told           the operator's rate.  Nothing cuts it: who tells it answers for it
    acks-stopped   halved each second, down to the floor: nothing behind the door is kept just now
    spool-filling  the same: what comes stays on our own disks, where neither the lag nor downstream shows it
    overload       four fifths each second: who came through the door is refused behind it
    lag-unknown    held
    climbing, floor, ceiling, consumption      the law, at most a tenth more each second

Chosen by `python -m loadtests.simulate.pace`: downstream takes 200/s and for three minutes 40 % of it, 85 %
complete the form, lag target 2,000.  How much of downstream was used over 20 minutes, and the worst lag
(7,200 and 21,600 sign-ups more than it then takes are already past the door):

                                                          form 60 s       form 180 s
    AIMD on lag                                         0.56  13,900     0.77  47,400
    consumption and lag, horizon 30 s                   0.89   9,700     0.74  24,200
    consumption and lag, horizon 60 s                   0.88   8,600     0.65  21,900
    consumption x slow trim                             0.93   9,600     0.72  19,500
    takes x slow trim                                   0.98   9,600     0.93  19,500     from nothing it never climbs
    takes and lag, horizon 60 s                         0.97   8,700     0.92  22,600
    takes, lag and those on their way, horizon 30 s     0.98   8,200     0.99  19,100     this one

From the floor of 10/s it uses nine tenths of 200/s after 130 s when the meter is given what downstream takes, after
360 s when it knows nothing (590 s without the probe): give it what a rehearsal showed.  Twice the truth costs a lag of 7,700, once.
60/s, then 20/s, then 100/s, each for three minutes, form 30 s: 0.93 used with a target of 1,000, 0.77 with 200; without the probe
0.93 and 0.68, and with 200 it never found the 100/s.  A larger probe finds faster and pays in lag: from nothing and with
that small target 1.25 uses 0.50 and costs a lag of 2,600 once, 1.5 uses 0.65 and costs 5,100.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple, Self

SECOND_US: Final = 1_000_000


class Reason(Enum):
    """Why the door has the rate it has: in the sign and the metrics."""

    PAUSED = "paused"
    TOLD = "told"
    ACKS_STOPPED = "acks-stopped"
    OVERLOAD = "overload"
    LAG_UNKNOWN = "lag-unknown"
    CLIMBING = "climbing"  # on its way to what downstream takes
    FLOOR = "floor"  # downstream takes less than the operator's least
    CEILING = "ceiling"  # downstream would take more than the operator's most
    CONSUMPTION = "consumption"
    CLOSED = "closed"
    SPOOL_FILLING = "spool-filling"  # a gauge tells each by its number: only ever appended to


class Policy(NamedTuple):
    """The numbers, each with its reason."""

    lag_target: int = 2_000  # sign-ups waiting downstream: ten seconds of 200/s, so that it never idles between two polls of its own
    probe: float = 1.3  # times what it consumes, where it wants for people: nobody knows what it would take; a form later that is shown
    horizon_s: float = 30.0  # shorter follows the noise of commits; longer climbs slowly from nothing
    trim_min: float = 0.5  # of what it takes: a long lag goes in the time it came, and the door does not shut behind it
    stale_s: float = 5.0  # five readings missed: a reader that restarts is no alarm
    change_s: float = 1.0  # the room keeps its last 8 changes, and holds reach 2.5 s ahead
    change_min: float = 0.02  # of the rate: less is the noise of counters, and each change costs every worker a correction
    rise_max: float = 1.1  # per second: from 10/s to 200/s in half a minute, half of a form
    acks_factor: float = 0.5  # per second, of a spool that fills too: a stall of one costs half for seven, one that lasts is at the floor in five
    overload_factor: float = 0.8  # per second: a core that is busy for one costs a fifth


class Orders(NamedTuple):
    """What the operator says.  All rates are kept within floor and ceiling, the told one too."""

    floor_per_s: float
    ceiling_per_s: float
    told_per_s: float | None = None
    is_paused: bool = False
    is_closed: bool = False

    def kept(self, rate_per_s: float) -> float:
        """The nearest allowed rate."""
        return min(max(rate_per_s, self.floor_per_s), self.ceiling_per_s)


class Reading(NamedTuple):
    """What downstream shows."""

    at_us: int
    takes_per_s: float  # sign-ups a second it is known to take
    consumed_per_s: float  # and now
    lag: float  # sign-ups that wait, on average of the last seconds
    signups_per_pass: float
    form_s: float = 0.0  # between door and sign-up, on average; 0 while it is not known
    on_way: float = 0.0  # sign-ups to come of those who passed in the last `form_s`
    is_busy: bool = True  # it always had work waiting; else it would take more, nobody knows how much


class Pace(NamedTuple):
    """The door's rate, and why.  While `paused` or `closed` the door is shut and the rate is what it resumes with."""

    rate_per_s: float
    reason: Reason
    since_us: int  # the reason is that
    changed_us: int  # the rate or the reason, last

    @classmethod
    def opening(cls, floor_per_s: float, now_us: int) -> Self:
        """Where a new room begins: at the floor, knowing nothing."""
        return cls(floor_per_s, Reason.LAG_UNKNOWN, now_us, now_us)


Law = Callable[[Policy, Reading, float], float]
"""(policy, reading, present rate) → the rate wanted, the operator's bounds aside."""


def feed_forward(policy: Policy, reading: Reading, _rate_per_s: float) -> float:
    """What downstream takes, trimmed so that lag and people on their way reach their targets within the horizon."""
    takes_per_s = reading.takes_per_s if reading.is_busy else max(reading.takes_per_s, policy.probe * reading.consumed_per_s)
    missing = policy.lag_target - reading.lag + takes_per_s * reading.form_s - reading.on_way
    return max(takes_per_s + missing / policy.horizon_s, takes_per_s * policy.trim_min) / reading.signups_per_pass


def next_pace(
    policy: Policy,
    orders: Orders,
    pace: Pace,
    now_us: int,
    reading: Reading | None,
    *,
    acks_stopped: bool,
    sheds: bool,
    spool_fills: bool = False,
    law: Law = feed_forward,
) -> Pace:
    """The pace from now on; the same object where nothing changes.

    At most one change a second, except that a pause or a close comes at once: it changes no rate.

    Args:
        reading: the newest there is, of any age; None where there never was one.
        acks_stopped: Kafka acknowledges nothing; from the sum of all workers, as the others.
        spool_fills: what comes stays on disk (watch.fills); False where there is none.
        sheds: overload refuses sign-ups or joins (syncs stand before them: theirs is no reason).
    """
    assert 0 < orders.floor_per_s <= orders.ceiling_per_s, orders  # config and the operator's call refuse others
    if orders.is_paused or orders.is_closed:
        return _changed(pace, pace.rate_per_s, Reason.CLOSED if orders.is_closed else Reason.PAUSED, now_us)
    waited_us = now_us - pace.changed_us
    if waited_us < 0:
        # The clock stepped back: that costs a second, and not until the old time comes round again.
        return pace._replace(since_us=min(pace.since_us, now_us), changed_us=now_us)
    if waited_us < policy.change_s * SECOND_US:
        return pace
    cut = _cut(policy, acks_stopped=acks_stopped, spool_fills=spool_fills, sheds=sheds)
    rate_per_s, reason = _wanted(policy, orders, pace.rate_per_s, _fresh(policy, reading, now_us), law, cut)
    return _changed(pace, rate_per_s, reason, now_us)


def _cut(policy: Policy, *, acks_stopped: bool, spool_fills: bool, sheds: bool) -> tuple[float, Reason] | None:
    """What is left of the rate after a second, and why; None where nothing cuts it."""
    if acks_stopped:
        return policy.acks_factor, Reason.ACKS_STOPPED
    if spool_fills:
        return policy.acks_factor, Reason.SPOOL_FILLING
    return (policy.overload_factor, Reason.OVERLOAD) if sheds else None


def _changed(pace: Pace, rate_per_s: float, reason: Reason, now_us: int) -> Pace:
    if (rate_per_s, reason) == (pace.rate_per_s, pace.reason):
        return pace
    return Pace(rate_per_s, reason, pace.since_us if reason is pace.reason else now_us, now_us)


def _fresh(policy: Policy, reading: Reading | None, now_us: int) -> Reading | None:
    """None where it is too old, or of a time that is yet to come: then a clock has stepped."""
    return reading if reading and abs(now_us - reading.at_us) <= policy.stale_s * SECOND_US else None


def _wanted(policy: Policy, orders: Orders, rate_per_s: float, reading: Reading | None, law: Law, cut: tuple[float, Reason] | None) -> tuple[float, Reason]:
    if orders.told_per_s is not None:
        return orders.kept(orders.told_per_s), Reason.TOLD
    if cut is not None:
        factor, reason = cut
        return orders.kept(rate_per_s * factor), reason
    if reading is None:
        return orders.kept(rate_per_s), Reason.LAG_UNKNOWN
    return _lawful(policy, orders, rate_per_s, law(policy, reading, rate_per_s))


def _lawful(policy: Policy, orders: Orders, rate_per_s: float, wanted_per_s: float) -> tuple[float, Reason]:
    """What the law wants, within bounds and no faster than allowed."""
    goal_per_s = orders.kept(wanted_per_s)
    if goal_per_s > rate_per_s * policy.rise_max:
        return orders.kept(rate_per_s * policy.rise_max), Reason.CLIMBING
    if wanted_per_s >= orders.ceiling_per_s:
        return orders.ceiling_per_s, Reason.CEILING
    if wanted_per_s <= orders.floor_per_s:
        return orders.floor_per_s, Reason.FLOOR
    is_noise = abs(goal_per_s - rate_per_s) <= policy.change_min * rate_per_s
    return orders.kept(rate_per_s) if is_noise else goal_per_s, Reason.CONSUMPTION


# What downstream shows


class Counts(NamedTuple):
    """Totals, as they stand at one instant."""

    at_us: int
    produced: int  # sign-ups in Kafka: the ends of all partitions
    consumed: int  # of them, what the room's consumer group has committed
    passes: int  # people let through the door
    signups: int  # sign-ups with a pass that the workers made durable
    form_s: int  # of those, the seconds since the slots of their passes, all together


WINDOW_US: Final = 15 * SECOND_US  # three commits at the clients' default of one each 5 s
WINDOW_MIN_US: Final = 10 * SECOND_US  # less shows one commit or none
BUSY_S: Final = 2.0  # always so much work waiting: then what it consumes is what it takes
STEP_US: Final = 10 * SECOND_US  # what is kept of the last twenty minutes
STEPS_MAX: Final = 120  # ten minutes that are judged, and the ten before them that a pass lasts
SHARE_US_MIN: Final = 300 * SECOND_US  # in less time one form's difference is taken for people who gave up
SHARE_US_MAX: Final = 600 * SECOND_US  # people do not change in that time
PEOPLE_MIN: Final = 100  # fewer are an anecdote
SHARE_BOUNDS: Final = (0.25, 2.0)  # a wrong measure opens the door four times at most; above 1 people correct their forms
FORM_S_MAX: Final = 600.0  # a pass lasts no longer


class Meter:
    """Counters → readings.

    Call `saw` each second that the counters can be read, and not at all when they cannot: a reading
    that grows old is what "lag unknown" means.

    Args:
        signups_per_pass: until it has been measured; 1 never opens too wide.
        takes_per_s: what downstream takes as far as is known: from a rehearsal, or from the last reading before a restart.
    """

    def __init__(self, signups_per_pass: float = 1.0, takes_per_s: float = 0.0) -> None:
        self._window: deque[Counts] = deque()
        self._steps: deque[Counts] = deque(maxlen=STEPS_MAX + 1)
        self._takes_per_s = takes_per_s
        self._signups_per_pass = signups_per_pass
        self._form_s = 0.0
        self._is_busy = False

    def saw(self, counts: Counts) -> Reading | None:
        """The reading of now; None until enough has been seen to say one."""
        if self._window and not _follows(self._window[-1], counts):
            # A topic made anew, a group set back, a worker's board, a clock, a gap: what was measured is kept, what is being measured begins anew.
            self._window.clear()
            self._steps.clear()
        self._window.append(counts)
        while counts.at_us - self._window[0].at_us > WINDOW_US:
            self._window.popleft()
        if not self._steps or counts.at_us - self._steps[-1].at_us >= STEP_US:
            self._steps.append(counts)
            self._learn()
        if counts.at_us - self._window[0].at_us < WINDOW_MIN_US:
            return None
        consumed_per_s = self._consumed_per_s()
        form_s, on_way = self._on_way(counts)
        # The mean of the window: commits come every few seconds, and a rate that followed each would change all the time.
        lag = sum(map(_lag, self._window)) / len(self._window)
        return Reading(counts.at_us, self._takes_per_s, consumed_per_s, lag, self._signups_per_pass, form_s, on_way, self._is_busy)

    def _consumed_per_s(self) -> float:
        """Over the window; notes what that says of what it takes."""
        first, last = self._window[0], self._window[-1]
        consumed_per_s = (last.consumed - first.consumed) * SECOND_US / (last.at_us - first.at_us)
        self._is_busy = min(map(_lag, self._window)) > consumed_per_s * BUSY_S
        self._takes_per_s = consumed_per_s if self._is_busy else max(self._takes_per_s, consumed_per_s)
        return consumed_per_s

    def _learn(self) -> None:
        """How long a form takes, and how many of the passes become sign-ups."""
        now = self._steps[-1]
        first = next(step for step in self._steps if step.at_us >= now.at_us - SHARE_US_MAX)
        if (signups := now.signups - first.signups) < PEOPLE_MIN:
            return
        self._form_s = min((now.form_s - first.form_s) / signups, FORM_S_MAX)
        # Those who signed up then were let in a form earlier: compared with the passes of now, a rising rate would look like people who give up.
        form_us = int(self._form_s * SECOND_US)
        since = next((step for step in self._steps if step.at_us >= max(first.at_us, self._steps[0].at_us + form_us)), now)
        passes = self._passes_at(now.at_us - form_us) - self._passes_at(since.at_us - form_us)
        if now.at_us - since.at_us >= SHARE_US_MIN and passes >= PEOPLE_MIN:
            least, most = SHARE_BOUNDS
            self._signups_per_pass = min(max((now.signups - since.signups) / passes, least), most)

    def _on_way(self, counts: Counts) -> tuple[float, float]:
        """(seconds of a form, sign-ups to come of those who have a pass); nothing where their passes were not seen."""
        from_us = counts.at_us - int(self._form_s * SECOND_US)
        if from_us < self._steps[0].at_us:
            return 0.0, 0.0
        return self._form_s, (counts.passes - self._passes_at(from_us)) * self._signups_per_pass

    def _passes_at(self, at_us: int) -> float:
        """How many had passed by then, on the straight line between two steps: whole steps would make the rate jump."""
        before = self._steps[0]
        for after in (*self._steps, self._window[-1]):
            if after.at_us > at_us:
                share = (at_us - before.at_us) / max(after.at_us - before.at_us, 1)
                return before.passes + (after.passes - before.passes) * share
            before = after
        return before.passes


def _lag(counts: Counts) -> int:
    # The ends may have been read a moment before the commits.
    return max(counts.produced - counts.consumed, 0)


def _follows(before: Counts, after: Counts) -> bool:
    """Whether one history holds both: nothing fell, and less than a window lies between."""
    return 0 < after.at_us - before.at_us <= WINDOW_MIN_US and all(now >= then for now, then in zip(after, before, strict=True))
