"""The gateway's processes in virtual time: a core each, the pure controller of overload, the pure buckets, and Kafka as a line.

    a request waits for the core ─▶ overload's bar ─▶ buckets ─▶ Kafka's line ─▶ acknowledged, or too late
                 └ dropped: the socket is full       └───────────┴── 429 or 503 with Retry-After

The rules are the gateway's: core/overload.py's Controller, core/admission.py's Retry-After, ratelimit/policy.py's `decide`
over the shipped policies.  The model is what a request costs: CPU as measured by bench_path and bench_line,
about, and an acknowledgement's round trip.  Times are seconds of the rehearsal's clock, costs seconds of one core.
"""

import heapq
import math
import random
from array import array
from collections import defaultdict, deque
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from gateway.config import Config, LimitPolicy, Limits
from gateway.core import admission
from gateway.core.admission import REQUEST_OVERHEAD_BYTES, Load
from gateway.core.overload import Controller, End, Rank, sheds_backfill
from gateway.core.overload import Policy as OverloadPolicy
from ratelimit.bucket import Limit
from ratelimit.policy import Ask, Policy, Rule, decide, divided

REFUSED_S: Final = 20e-6  # a refusal from the request's head alone
COST_S: Final = {Rank.SYNC: 85e-6, Rank.SIGNUP: 130e-6, Rank.JOIN: 90e-6}
LOOKED_S: Final = 40e-6  # a place
KNOCKED_S: Final = 90e-6
FORGED_S: Final = 60e-6  # a signature that does not fit, or no pass
ROUND_TRIP_S: Final = (0.004, 0.008)  # from admission to the acknowledgement of a Kafka that has time: linger, one batch in flight, one round trip
ADDRESS_PHONES: Final = 1_000  # behind one address of a carrier ..
NETWORK_ADDRESSES: Final = 16  # .. so many of which are one network
BODY_BYTES: Final = 1_024
SMOOTHING: Final = 0.3  # as in gateway/admit.py
START_US: Final = 1_700_000_000_000_000  # the rehearsal's second 0: an instant of this century, as the gateway sees it


def us_of(at_s: float) -> int:
    """An instant of the rehearsal's clock as the gateway's."""
    return START_US + round(at_s * 1_000_000)


class How(Enum):
    """What became of one request."""

    ACCEPTED = "accepted"  # 202; of a join: it may go on to the room
    LIMITED = "limited"  # 429
    OVERLOADED = "overloaded"  # 503, ours
    NOT_DURABLE = "not-durable"  # 503 at once: Kafka stands
    UNKNOWN = "unknown"  # 503 after the deadline
    DROPPED = "dropped"  # the kernel had no place for it
    FORBIDDEN = "forbidden"  # 401 or 403


class Answer(NamedTuple):
    """And when; `retry_after_s` 0: nothing was said."""

    how: How
    at_s: float
    retry_after_s: float = 0.0
    violated: str = ""


class Store:
    """Kafka: a line for all, with a capacity, and times in which it takes nothing."""

    def __init__(self, records_per_s: float, outages_s: Sequence[tuple[float, float]], draw: random.Random) -> None:
        self._record_s = 1 / records_per_s if records_per_s else 0.0
        self._outages_s = outages_s
        self._draw = draw
        self._free_s = self._last_s = 0.0

    def acked_s(self, now_s: float, records: int) -> float:
        """When so many, sent now, are acknowledged."""
        at_s = max(now_s, self._free_s)
        at_s = self._after_outage_s(at_s) + self._record_s * records
        self._free_s = at_s
        acked_s = self._after_outage_s(at_s) + self._draw.uniform(*ROUND_TRIP_S)
        self._last_s = max(self._last_s, acked_s)  # in order
        return self._last_s

    def is_away(self, now_s: float) -> bool:
        """Whether it takes nothing now."""
        return self._after_outage_s(now_s) > now_s

    def _after_outage_s(self, at_s: float) -> float:
        for from_s, to_s in self._outages_s:
            if from_s <= at_s < to_s:
                at_s = to_s
        return at_s


class Paid:
    """What one policy let pass: when, from where, who.  For the check that no bucket ever gave more than it may."""

    def __init__(self) -> None:
        self.at_us, self.address, self.who = array("q"), array("q"), array("q")

    def add(self, at_us: int, address: int, who: int) -> None:
        """One more."""
        self.at_us.append(at_us)
        self.address.append(address)
        self.who.append(who)


class Buckets(NamedTuple):
    """One policy's: a question, and for each of its keys a table of buckets and whose bucket it is."""

    ask: Ask
    full_us: list[defaultdict[int, int]]
    whose: list[int]  # position in (0: everybody's, the address, who, the network)


class Quotas:
    """All buckets of all policies, in one store, or each worker's own while the store is away."""

    def __init__(self, settings: Limits, *, has_room: bool) -> None:
        newcomers = Limit.per(settings.newcomers_per_s, 1, settings.newcomers_burst)
        shipped = [one for one in settings.policies if not one.shadow]
        self.policies: dict[str, Policy] = {one.charge: _policy(one, newcomers, has_passes=has_room) for one in shipped}
        self._tables: dict[tuple[str, int], Buckets] = {}
        self._shared: dict[tuple[str, int], defaultdict[int, int]] = {}
        self._now_us = 0  # the store's clock, which does not go back where one worker is ahead of another
        self.paid: dict[str, Paid] = {kind: Paid() for kind in self.policies}

    def charge(self, kind: str, address: int, who: int, now_us: int, alone: tuple[int, int] | None = None) -> tuple[float, str]:
        """(0, "") where it is paid; else seconds until it would be, and the rule that stands against it.

        Args: alone: (this worker, workers) while Redis is away.
        """
        policy = self.policies.get(kind)
        if policy is None:
            return 0.0, ""
        if alone is not None and policy.on_error != "local":
            return (0.0, "") if policy.on_error == "open" else (1.0, "closed")
        ask, full_us, whose = self._tables.get((kind, alone[0] if alone else -1)) or self._made(kind, policy, alone)
        now_us = self._now_us = max(now_us, self._now_us)
        names = (0, address, who, address // NETWORK_ADDRESSES)
        keys = [names[position] for position in whose]
        decision, after = decide(ask, [table[key] for table, key in zip(full_us, keys, strict=True)], now_us)
        for table, key, full in zip(full_us, keys, after, strict=True):
            table[key] = full
        if decision.granted:
            self.paid[kind].add(now_us, address, who)
            return 0.0, ""
        name = policy.rules[decision.violated].name if decision.violated < len(policy.rules) else "newcomers"
        return float(math.ceil(decision.retry_after_us / 1e6)), name

    def _made(self, kind: str, policy: Policy, alone: tuple[int, int] | None) -> Buckets:
        """Full ones.  The global one and the newcomers' are shared by all policies."""
        worker, own = (alone[0], divided(policy, alone[1])) if alone else (-1, policy)
        names = [*(rule.name for rule in policy.rules), *(["newcomers"] if policy.newcomers is not None else [])]
        tables = [
            self._shared.setdefault((name, worker), defaultdict(int)) if name in {"global", "newcomers"} else defaultdict[int, int](int) for name in names
        ]
        whose = [{"global": 0, "route": 0, "address": 1, "newcomers": 3}.get(name, 2) for name in names]
        made = self._tables[kind, worker] = Buckets(Ask(own, (b"",) * len(names)), tables, whose)
        return made


def _policy(settings: LimitPolicy, newcomers: Limit, *, has_passes: bool) -> Policy:
    rules = tuple(
        Rule(rule.by, Limit.per(rule.tokens, rule.per_s, rule.burst), rule.by not in ("global", "route"))
        for rule in settings.rules
        if has_passes or rule.by != "pass"
    )
    makes_keys = any(rule.is_identity for rule in rules)
    return Policy(settings.name, rules, settings.on_error, newcomers=newcomers if makes_keys else None)


class Request(NamedTuple):
    """What one asks."""

    rank: Rank
    address: int
    who: int  # of the user's or the pass's bucket
    share: float
    records: int = 1
    days_back: int = 0
    is_forged: bool = False


KINDS: Final = {Rank.SYNC: "syncs", Rank.SIGNUP: "signups", Rank.JOIN: "joins"}


class Core:
    """One worker: one core, and what it has in hand."""

    def __init__(self, number: int, workers: int, config: Config, quotas: Quotas, store: Store, draw: random.Random) -> None:
        self._alone = (number, workers)
        self._deliver, self._bytes_max = config.deliver, config.deliver.in_flight_bytes_max
        # So many connections it holds, and the kernel so many more; each costs a refusal at the least.
        self._queue_s = (config.http.connections_max + config.http.backlog) * REFUSED_S
        self._quotas, self._store, self._draw = quotas, store, draw
        self.controller = Controller(OverloadPolicy(), 0.0)
        self.free_s = 0.0
        self.busy_s = 0.0  # of the core, ever
        self._seen_s = 0.0
        self._cheap = 0.0  # of this step's time, what places and knocks take
        self._ends: list[tuple[float, float, End]] = []  # a heap: when it is answered, when it was admitted
        self._unacked_s: deque[float] = deque()  # when each request's records will be acknowledged, though nobody waits for them any more
        self._progress_s = 0.0  # the last acknowledgement, or the first record after a time without any
        self.acks_s: list[float] = []  # waits, of this second
        self._drained = self._drained_per_s = 0.0
        self.refused = 0  # requests of this second, which all come back
        self.is_limits_store_away = False

    @property
    def in_flight(self) -> int:
        """Requests admitted and not answered."""
        return self.controller.in_flight

    def unacked_age_s(self, now_s: float) -> float:
        """How long Kafka has said nothing to this worker; 0 where nothing is sent."""
        return max(now_s - self._progress_s, 0.0) if self._unacked_s else 0.0

    def is_stalled(self, now_s: float) -> bool:
        """What comes now would only wait: it is refused at once, until the acknowledgement comes."""
        return self.unacked_age_s(now_s) > self._deliver.stall_ms / 1000

    def begin(self, now_s: float, step_s: float, cheap_s: float) -> None:
        """A step: what is cheap comes evenly, and is never refused."""
        self._pass(now_s)
        self._cheap = cheap_s / step_s

    def end(self, now_s: float) -> float:
        """The step is over; returns how late the loop is."""
        self._pass(now_s)
        self._finish(now_s)
        lag_s = max(self.free_s - now_s, 0.0)
        self.controller.lagged(now_s, lag_s)
        return lag_s

    def second(self) -> None:
        """Fold it into the average, as gateway/admit.py does."""
        self._drained_per_s += SMOOTHING * (self._drained - self._drained_per_s)
        self._drained, self.refused, self.acks_s = 0.0, 0, []

    def _pass(self, now_s: float) -> None:
        passed_s = max(now_s - self._seen_s, 0.0)
        work_s = self._cheap * passed_s
        self.free_s = max(self.free_s, self._seen_s) + work_s
        self.busy_s += work_s
        self._seen_s += passed_s

    def _spend(self, now_s: float, cost_s: float) -> float:
        """When it is done."""
        self.free_s = max(self.free_s, now_s) + cost_s
        self.busy_s += cost_s
        return self.free_s

    def ask(self, request: Request, at_s: float) -> Answer:
        """One request, from its first byte to its answer."""
        self._pass(at_s)
        if self.free_s - at_s > self._queue_s:
            return Answer(How.DROPPED, at_s)
        start_s = max(self.free_s, at_s)
        self._finish(start_s)
        if request.rank is not Rank.JOIN and self.is_stalled(start_s):
            return self._refuse(How.NOT_DURABLE, start_s)
        in_flight_bytes = self.controller.in_flight * (BODY_BYTES + REQUEST_OVERHEAD_BYTES)
        if in_flight_bytes > self._bytes_max or not self.controller.is_admitted(request.rank, request.share, start_s):
            return self._refuse(How.OVERLOADED, start_s)
        self.controller.admitted()
        if request.is_forged:
            self.controller.finished(start_s, 0.0, End.IGNORED)
            return Answer(How.FORBIDDEN, self._spend(start_s, FORGED_S))
        return self._charged(request, start_s)

    def _charged(self, request: Request, start_s: float) -> Answer:
        alone = self._alone if self.is_limits_store_away else None
        wait_s, violated = self._quotas.charge(KINDS[request.rank], request.address, request.who, us_of(start_s), alone)
        if wait_s:
            self.controller.finished(start_s, 0.0, End.IGNORED)
            at_s = self._spend(start_s, FORGED_S)
            if violated in ("global", "route"):
                self.refused += 1
                return Answer(How.OVERLOADED, at_s, max(wait_s, self._retry_after_s()), violated)
            return Answer(How.LIMITED, at_s, wait_s, violated)
        if request.days_back and sheds_backfill(self.controller.pressure, request.days_back - request.records + 1):
            self.controller.finished(start_s, 0.0, End.IGNORED)
            return self._refuse(How.OVERLOADED, start_s)
        done_s = self._spend(start_s, COST_S[request.rank])
        if request.rank is Rank.JOIN:
            self.controller.finished(start_s, 0.0, End.IGNORED)
            return Answer(How.ACCEPTED, done_s)
        return self._delivered(request, start_s, done_s)

    def _delivered(self, request: Request, start_s: float, done_s: float) -> Answer:
        acked_s, deadline_s = self._store.acked_s(done_s, request.records), start_s + self._deliver.timeout_ms / 1000
        self._progress_s = self._progress_s if self._unacked_s else done_s
        self._unacked_s.append(acked_s)
        is_late = acked_s > deadline_s
        ends_s = min(acked_s, deadline_s)
        heapq.heappush(self._ends, (ends_s, start_s, End.LOST if is_late else End.ANSWERED))
        return Answer(How.UNKNOWN, ends_s, self._retry_after_s()) if is_late else Answer(How.ACCEPTED, ends_s)

    def _refuse(self, how: How, start_s: float) -> Answer:
        self.refused += 1
        return Answer(how, self._spend(start_s, REFUSED_S), self._retry_after_s())

    def _retry_after_s(self) -> float:
        cost = BODY_BYTES + REQUEST_OVERHEAD_BYTES
        load = Load(self.controller.in_flight * cost, self._drained_per_s * cost, self.refused * cost)
        return float(admission.retry_after_s("overloaded", load, self._draw.random()))

    def _finish(self, now_s: float) -> None:
        """What has been acknowledged and answered by now."""
        while self._unacked_s and self._unacked_s[0] <= now_s:
            self._progress_s = max(self._progress_s, self._unacked_s.popleft())
        while self._ends and self._ends[0][0] <= now_s:
            ends_s, began_s, end = heapq.heappop(self._ends)
            self.controller.finished(ends_s, ends_s - began_s, end)
            if end is End.ANSWERED:
                self._drained += 1
                self.acks_s.append(ends_s - began_s)
