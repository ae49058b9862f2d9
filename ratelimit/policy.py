"""What several buckets say together: a policy's limits pass all or none, in one step.

Decided here: whether a request passes all limits of its policy, what is left, which
limit stood against it, and what a key costs that did not exist.  Pure, like bucket.py;
lua/take.lua is its twin inside Redis.  Units: µs, tokens.

A rule with `is_identity` has a bucket for each of somebody (a user, an address), so
random identities could fill the store.  Where the policy has `newcomers`, every such
bucket that is made (it was full, so it had no key) costs one token of a bucket
that the caller names by where the identity comes from: a network, say.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from ratelimit import bucket
from ratelimit.bucket import Limit

OnError = Literal["local", "open", "closed"]
Kind = Literal["take", "some", "peek", "refund"]
Source = Literal["store", "memory", "local", "open", "closed"]


class Rule(NamedTuple):
    """One limit of a policy, under the name refusals are told by."""

    name: str
    limit: Limit
    is_identity: bool = False


class Policy(NamedTuple):
    """Limits that pass all or none.

    `on_error`: what holds while the store is slow or away: local buckets with this process's
    share of the rate, everything passes, or nothing does.
    """

    name: str
    rules: tuple[Rule, ...]
    on_error: OnError = "local"
    is_shadow: bool = False  # measured, and never enforced: the caller sees to that
    newcomers: Limit | None = None

    @property
    def burst(self) -> int:
        """The most tokens one ask can have."""
        return min(rule.limit.burst for rule in self.rules)


class Ask(Struct, frozen=True, gc=False):
    """One question: a policy, the key of each of its buckets, and tokens.

    Kinds: "take" all `tokens` or none; "some": as many of them as there are; "peek": spend
    nothing; "refund": give them back.  With `newcomers` the last key is theirs.
    """

    policy: Policy
    keys: tuple[bytes, ...]
    tokens: int = 1
    kind: Kind = "take"


class Decision(NamedTuple):
    """The answer.

    `granted`: tokens taken; 0 is a refusal ("peek" and "refund" take none: 0 as well).
    `retry_after_us`: in how long the same ask ("some": one token) would succeed; 0 = now.
    `violated`: position of the rule that takes longest, len(rules) for newcomers; -1 for none.
    `remaining`: tokens left in the bucket that has fewest.
    """

    granted: int
    retry_after_us: int
    violated: int
    remaining: int
    source: Source = "store"


def decide(ask: Ask, full_ats_us: Sequence[int], now_us: int) -> tuple[Decision, list[int]]:
    """The answer, and the buckets afterwards; one state per key, in the order of the keys."""
    policy, tokens = ask.policy, ask.tokens
    limits = [rule.limit for rule in policy.rules]
    assert len(full_ats_us) == len(ask.keys) == len(limits) + (policy.newcomers is not None), ask
    if ask.kind == "refund":
        # Newcomers stay: the key was made.
        after = [bucket.give_back(limit, full_at, now_us, tokens) for limit, full_at in zip(limits, full_ats_us, strict=False)]
        return Decision(0, 0, -1, _least(limits, after, now_us)), [*after, *full_ats_us[len(limits) :]]
    costs = [tokens] * len(limits)
    if ask.kind == "some":
        costs = [max(1, min(tokens, _least(limits, full_ats_us, now_us)))] * len(limits)
    elif ask.kind == "peek":
        costs = [1] * len(limits)
    if policy.newcomers is not None:
        made = sum(rule.is_identity and full_at <= now_us for rule, full_at in zip(policy.rules, full_ats_us, strict=False))
        limits, costs = [*limits, policy.newcomers], [*costs, min(made, policy.newcomers.burst)]
    verdicts = [bucket.take(limit, full_at, now_us, cost) for limit, full_at, cost in zip(limits, full_ats_us, costs, strict=True)]
    retry_after_us = max(verdict.retry_after_us for verdict in verdicts)
    if retry_after_us or ask.kind == "peek":
        violated = [verdict.retry_after_us for verdict in verdicts].index(retry_after_us) if retry_after_us else -1
        kept = [now_us + bucket.owed(limit, full_at, now_us) for limit, full_at in zip(limits, full_ats_us, strict=True)]
        return Decision(0, retry_after_us, violated, _least(limits[: len(policy.rules)], kept, now_us)), kept
    after = [verdict.full_at_us for verdict in verdicts]
    return Decision(costs[0], 0, -1, _least(limits[: len(policy.rules)], after, now_us)), after


def _least(limits: Sequence[Limit], full_ats_us: Sequence[int], now_us: int) -> int:
    return min(bucket.remaining(limit, full_at, now_us) for limit, full_at in zip(limits, full_ats_us, strict=False))


def divided(policy: Policy, workers: int) -> Policy:
    """A worker's share of a policy while it decides alone: rate and burst ÷ workers.

    A burst too small to divide becomes 1, and its rate is divided all the same: together the
    workers then admit at most workers x 1 at once (`local_burst_max`) instead of the burst.
    """
    rules = tuple(rule._replace(limit=_share(rule.limit, workers)) for rule in policy.rules)
    return policy._replace(rules=rules, newcomers=policy.newcomers and _share(policy.newcomers, workers))


def _share(limit: Limit, workers: int) -> Limit:
    return Limit(min(limit.token_us * workers, bucket.TOKEN_US_MAX), max(limit.burst // workers, 1))
