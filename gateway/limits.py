"""Quotas: which buckets a request is charged to, and what is told to whom they refuse.

Decided here: the keys of buckets, who is at fault for a refusal (a limit *of yours*:
429; one of ours: 503), and the RateLimit fields.  Not decided here: arithmetic,
Redis, and what holds without it (ratelimit/); where it stands in the path (accept.py).

Keys in Redis, after limits.prefix; identities only as keyed hashes of 10 bytes, hex:

    global                     one bucket for all enforced policies
    <policy>:route             one per policy
    <policy>:address:<hash>    IPv4 exact, IPv6 /64
    <policy>:user:<hash>
    <policy>:pass:<hash>       of sign-ups that come through a room
    newcomers:<hash>           one per network, /24 or /48, for all enforced policies; a shadow has its own

Source: draft-ietf-httpapi-ratelimit-headers-10 for the fields.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Final, NamedTuple

from msgspec import Struct, structs

from gateway import config, logs
from gateway.board import Slot
from gateway.core.address import network_of, place_of
from gateway.core.light import INDEX, REASONS
from gateway.errors import Refusal
from ratelimit.bucket import Limit
from ratelimit.limiter import Answer, Limiter
from ratelimit.policy import Decision, Policy, Rule, Source

_HASH_BYTES: Final = 10
_REMEMBERED_MAX: Final = 16_384  # of keys made for an address and a user, 0.75 kB each; to make them again costs 4 µs
_NEWCOMERS: Final = "newcomers"
_OURS: Final = frozenset({"global", "route"})


_Keys = tuple[bytes, ...]


class _Charge(dict[tuple[str, str], _Keys]):
    """One policy in force: (address, user) → the keys of its buckets, remembered; all forgotten when there are too many."""

    def __init__(self, policy: Policy, keys_of: Callable[[str, str], _Keys]) -> None:
        super().__init__()
        self.policy = policy
        self._keys_of = keys_of

    def __missing__(self, who: tuple[str, str]) -> _Keys:
        if len(self) >= _REMEMBERED_MAX:
            self.clear()
        keys = self[who] = self._keys_of(*who)
        return keys


class Paid(Struct, frozen=True, gc=False):
    """What was charged, and where, to be given back if it left nothing behind."""

    kind: str
    policy: Policy | None  # None: only shadows were
    keys: _Keys
    tokens: int
    source: Source
    shadows: "Sequence[_Measured]" = ()


class _Measured(NamedTuple):
    """What a shadow policy was asked; nobody waits for its answer."""

    policy: Policy
    keys: _Keys
    answer: Answer


class Limits:
    """The quotas of one worker."""

    def __init__(self, settings: config.Limits, secret: bytes, limiter: Limiter, slot: Slot, *, has_passes: bool = False) -> None:
        """Args:
        secret: keys the hashes; the same in all gateways that share buckets.
        has_passes: sign-ups come with one; else rules by pass say nothing.
        """
        self._secret = secret
        self._has_passes = has_passes
        self._limiter = limiter
        self._results = {name: slot.counters_by("sluicegate_limits_total", name) for name in ("syncs", "signups", "samples", "joins")}
        self._counters = {
            "answers": slot.counters_by("sluicegate_limiter_answers_total"),
            "calls": slot.counters_by("sluicegate_limiter_calls_total"),
            "lost": slot.counters_by("sluicegate_limiter_lost_total"),
            "alone": {"": slot.counter("sluicegate_limiter_alone_tokens_total")},
            "degraded": {"": slot.counter("sluicegate_limiter_degraded_seconds_total")},
        }
        self._shown: dict[tuple[str, str], int] = {}
        self._gauges = {name: slot.gauge(f"sluicegate_{name}") for name in ("limiter_degraded", "limiter_workers", "redis_reason")}
        self._seen = ""
        self._enforced: dict[str, _Charge] = {}
        self._shadows: dict[str, list[_Charge]] = {}
        self.reload(settings)

    def reload(self, settings: config.Limits) -> None:
        """Use these policies from now on; buckets keep their state, remembered refusals go."""
        newcomers = Limit.per(settings.newcomers_per_s, 1, settings.newcomers_burst)
        prefix = settings.prefix.encode()
        policies = settings.policies if self._has_passes else [without_passes(policy) for policy in settings.policies]
        charges = [(policy, self._charge(policy, prefix, newcomers)) for policy in policies if policy.rules]
        self._enforced = {policy.charge: charge for policy, charge in charges if not policy.shadow}
        self._shadows = {}
        for policy, charge in charges:
            if policy.shadow:
                self._shadows.setdefault(policy.charge, []).append(charge)
        self._limiter.forget()

    def _charge(self, settings: config.LimitPolicy, prefix: bytes, newcomers: Limit) -> _Charge:
        policy = _policy(settings, newcomers)
        own = prefix + settings.name.encode() + b":"
        shared = own if settings.shadow else prefix  # what a shadow spends nobody misses
        key_of: dict[str, Callable[[str, str], bytes]] = {
            "global": lambda _address, _user: shared + b"global",
            "route": lambda _address, _user: own + b"route",
            "address": lambda address, _user: own + b"address:" + self._hash("address", place_of(address)),
            "user": lambda _address, user: own + b"user:" + self._hash("user", user),
            "pass": lambda _address, holder: own + b"pass:" + self._hash("pass", holder),
            _NEWCOMERS: lambda address, _user: shared + b"newcomers:" + self._hash("network", network_of(address)),
        }
        names = [*(rule.by for rule in settings.rules), *([_NEWCOMERS] if policy.newcomers is not None else [])]
        return _Charge(policy, lambda address, user: tuple([key_of[name](address, user) for name in names]))

    async def charge(self, kind: str, address: str, user: str = "") -> Paid | None:
        """Pay for one request; returns what was paid, for `refund`.

        Raises:
            Refusal: rate-limited, or overloaded for a limit that is ours.
        """
        shadows = self._measure(kind, address, user) if kind in self._shadows else ()
        enforced = self._enforced.get(kind)
        if enforced is None:
            return Paid(kind, None, (), 0, "store", shadows) if shadows else None
        keys = enforced[address, user]
        decision = self._limiter.take(enforced.policy, keys)
        if not isinstance(decision, Decision):
            decision = await decision
        results = self._results[kind]
        if decision.granted:
            results["admitted"].add()
            return Paid(kind, enforced.policy, keys, 1, decision.source, shadows)
        results[_by(enforced.policy, decision)].add()
        raise _refusal(enforced.policy, decision)

    async def samples(self, samples: int, address: str, user: str) -> tuple[int, int, Paid | None]:
        """How many of a request's samples may pass now, in how many seconds the others might (0: all pass), and what was paid.

        The first sample is paid for with the request.
        """
        kind = "samples"
        if samples <= 1:
            return samples, 0, None
        shadows = self._measure(kind, address, user, samples) if kind in self._shadows else ()
        enforced = self._enforced.get(kind)
        if enforced is None:
            return samples, 0, Paid(kind, None, (), 0, "store", shadows) if shadows else None
        tokens = min(samples - 1, enforced.policy.burst)
        keys = enforced[address, user]
        decision = self._limiter.take(enforced.policy, keys, tokens, kind="some")
        if not isinstance(decision, Decision):
            decision = await decision
        results = self._results[kind]
        results["admitted"].add(1 + decision.granted)
        paid = Paid(kind, enforced.policy, keys, decision.granted, decision.source, shadows)
        left = samples - 1 - decision.granted
        if not left:
            return samples, 0, paid
        results[_by(enforced.policy, decision)].add(left)
        wait_us = max(decision.retry_after_us, min(left, tokens) * max(rule.limit.token_us for rule in enforced.policy.rules))
        return 1 + decision.granted, math.ceil(wait_us / 1e6), paid

    def refund(self, paid: Paid | None, tokens: int = 1) -> None:
        """Give tokens back to where they came from, no more than were paid: they left nothing behind, by our fault."""
        if paid is None:
            return
        for shadow in paid.shadows:
            self._when_known(shadow.answer, partial(self._refund_shadow, shadow, tokens))
        tokens = min(tokens, paid.tokens)
        if paid.policy is not None and tokens:
            self._limiter.refund(paid.policy, paid.keys, tokens, paid.source)
            self._results[paid.kind]["refunded"].add(tokens)

    def show(self) -> None:
        """Post what the limiter has counted; the worker calls this twice a second."""
        limiter, counts = self._limiter, self._limiter.counts
        now = {
            ("answers", "store"): counts.allowed + counts.refused,
            ("answers", "memory"): counts.remembered,
            ("answers", "local"): counts.local,
            ("answers", "open"): counts.open,
            ("answers", "closed"): counts.closed,
            ("calls", "answered"): counts.answered,
            ("calls", "late"): counts.late,
            ("calls", "failed"): counts.store_errors,
            ("lost", "full"): counts.full,
            ("lost", "refunds"): counts.refunds_lost,
            ("lost", "beats"): counts.beats_lost,
            ("alone", ""): counts.alone_tokens,
            ("degraded", ""): int(limiter.degraded_s),
        }
        for (family, label), value in now.items():
            if value > self._shown.get((family, label), 0):
                self._counters[family][label].add(value - self._shown.get((family, label), 0))
                self._shown[family, label] = value
        seen = f"redis-{limiter.reason}"
        if seen != self._seen:
            logs.info("redis light", reason=seen, colour=REASONS[INDEX[seen]].colour.name.lower())
            self._seen = seen
        self._gauges["redis_reason"].set(INDEX[seen])
        self._gauges["limiter_degraded"].set(limiter.is_degraded)
        self._gauges["limiter_workers"].set(limiter.live_workers)

    def _measure(self, kind: str, address: str, user: str, samples: int = 0) -> Sequence[_Measured]:
        """Ask the shadow policies as the enforced one is asked, and only count what they say."""
        asked = []
        for shadow in self._shadows[kind]:
            policy, keys = shadow.policy, shadow[address, user]
            answer = self._limiter.take(policy, keys, min(samples - 1, policy.burst), kind="some") if samples else self._limiter.take(policy, keys)
            self._when_known(answer, partial(self._count_shadow, kind, max(samples, 1)))
            asked.append(_Measured(policy, keys, answer))
        return asked

    def _count_shadow(self, kind: str, wanted: int, decision: Decision) -> None:
        passed = decision.granted + (wanted > 1)  # the first sample is paid for with the request
        self._results[kind]["shadow_admitted"].add(passed)
        self._results[kind]["shadow_refused"].add(wanted - passed)

    def _refund_shadow(self, shadow: _Measured, tokens: int, decision: Decision) -> None:
        if tokens := min(tokens, decision.granted):
            self._limiter.refund(shadow.policy, shadow.keys, tokens, decision.source)

    @staticmethod
    def _when_known(answer: Answer, tell: Callable[[Decision], None]) -> None:
        if isinstance(answer, Decision):
            tell(answer)
        else:
            answer.add_done_callback(lambda done: None if done.cancelled() else tell(done.result()))

    def _hash(self, what: str, identity: str) -> bytes:
        return blake2b(identity.encode(), digest_size=_HASH_BYTES, key=self._secret, person=what.encode()).hexdigest().encode()


def without_passes(settings: config.LimitPolicy) -> config.LimitPolicy:
    """Where there is no room, nobody has a pass to be limited by."""
    return structs.replace(settings, rules=tuple(rule for rule in settings.rules if rule.by != "pass"))


def _policy(settings: config.LimitPolicy, newcomers: Limit) -> Policy:
    rules = tuple(Rule(rule.by, Limit.per(rule.tokens, rule.per_s, rule.burst), rule.by not in _OURS) for rule in settings.rules)
    makes_keys = any(rule.is_identity for rule in rules)
    return Policy(settings.name, rules, settings.on_error, settings.shadow, newcomers if makes_keys else None)


def _by(policy: Policy, decision: Decision) -> str:
    """Whose limit it was, or that Redis is away and on_error closed."""
    if decision.source == "closed":
        return "away"
    # A part was granted (-1): samples have one rule as a rule.
    return policy.rules[max(decision.violated, 0)].name if decision.violated < len(policy.rules) else _NEWCOMERS


def _refusal(policy: Policy, decision: Decision) -> Refusal:
    by = _by(policy, decision)
    wait_s = max(1, math.ceil(decision.retry_after_us / 1e6))
    if by in _OURS or by == "away":
        why = "cannot be decided now, and nothing passes meanwhile" if by == "away" else "more than everybody together may send now"
        return Refusal("overloaded", f"limit {policy.name}, by {by}: {why}", retry_after_s=wait_s, members={"policy": policy.name})
    limit = policy.newcomers if by == _NEWCOMERS else policy.rules[decision.violated].limit
    assert limit is not None, policy
    return Refusal(
        "rate-limited",
        f"limit {policy.name}, by {by}: want at most {limit.burst} at once, refilled within {math.ceil(limit.capacity_us / 1e6)} s",
        retry_after_s=wait_s,
        headers=_fields(f"{policy.name}-{by}", limit, wait_s),
        members={"policy": f"{policy.name}-{by}"},
    )


def _fields(name: str, limit: Limit, wait_s: int) -> Sequence[tuple[str, str]]:
    """The violated policy alone: its quota and window, and that nothing is left for so long."""
    return (
        ("RateLimit-Policy", f'"{name}";q={limit.burst};w={math.ceil(limit.capacity_us / 1e6)}'),
        ("RateLimit", f'"{name}";r=0;t={wait_s}'),
    )
