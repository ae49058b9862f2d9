"""Quotas: whose bucket pays, and what is told to whom it refuses."""

import asyncio
from typing import Any

import msgspec
import pytest

from gateway import config, limits
from gateway.errors import Refusal
from gateway.limits import Limits
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from ratelimit.store import StoreAway
from tests.fakes import FakeClock, VirtualLoop, count, in_virtual_time, new_slot

SECRET = b"s" * 32


def policy(charge: Any, name: str = "p", *, shadow: bool = False, on_error: Any = "local", **burst_by: Any) -> config.LimitPolicy:
    rules = tuple(config.LimitRule(by, 1, 60, burst) for by, burst in burst_by.items())  # type: ignore[arg-type]
    return config.LimitPolicy(name, charge, rules, on_error, shadow)


def all_of(burst: int) -> dict[str, Any]:
    """A rule by global, which is no word for a keyword."""
    return {"global": burst}


class Door:
    """Limits on a store in memory."""

    def __init__(self, *policies: config.LimitPolicy, secret: bytes = SECRET, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.clock = FakeClock()
        self.store = MemoryStore(lambda: self.clock.now_us)
        self.slot = new_slot()
        self.limiter = Limiter(self.store, worker="w", monotonic_s=loop.time)
        self.limits = Limits(config.Limits(policies=policies, **settings), secret, self.limiter, self.slot)

    async def refusal(self, kind: str, address: str = "192.0.2.1", user: str = "") -> Refusal | None:
        try:
            await self.limits.charge(kind, address, user)
        except Refusal as refusal:
            return refusal
        return None

    def counted(self, charge: str, result: str) -> int:
        return count(self.slot, "sluicegate_limits_total", charge, result)


@in_virtual_time
async def test_the_violated_policy_alone_is_told() -> None:
    door = Door(policy("syncs", "syncs", address=3, user=2))
    assert [await door.refusal("syncs", user="u1") for _ in range(2)] == [None, None]
    refused = await door.refusal("syncs", user="u1")
    assert refused is not None
    assert (refused.problem.code, refused.problem.status, refused.retry_after_s) == ("rate-limited", 429, 60)
    assert dict(refused.headers) == {"RateLimit-Policy": '"syncs-user";q=2;w=120', "RateLimit": '"syncs-user";r=0;t=60'}
    assert refused.members == {"policy": "syncs-user"}
    assert await door.refusal("syncs", user="u2") is None
    refused = await door.refusal("syncs", user="u3")
    assert refused is not None
    assert dict(refused.headers)["RateLimit-Policy"] == '"syncs-address";q=3;w=180'
    assert (door.counted("syncs", "admitted"), door.counted("syncs", "user"), door.counted("syncs", "address")) == (3, 1, 1)


@in_virtual_time
@pytest.mark.parametrize("by", ["global", "route"])
async def test_a_limit_of_ours_is_not_the_clients_fault(by: str) -> None:
    door = Door(policy("signups", **dict[str, Any]({by: 1})))
    assert await door.refusal("signups") is None
    refused = await door.refusal("signups")
    assert refused is not None
    assert (refused.problem.code, refused.headers, refused.retry_after_s) == ("overloaded", (), 60)


@in_virtual_time
async def test_one_global_bucket_for_all_that_are_enforced() -> None:
    door = Door(policy("syncs", "a", **all_of(3)), policy("signups", "b", **all_of(3)), policy("syncs", "c", shadow=True, **all_of(1)))
    found = [await door.refusal(kind) for kind in ("syncs", "signups", "syncs", "signups")]
    assert [refused and refused.problem.code for refused in found] == [None, None, None, "overloaded"]
    await asyncio.sleep(1)
    assert (door.counted("syncs", "shadow_admitted"), door.counted("syncs", "shadow_refused")) == (1, 1)


@in_virtual_time
async def test_what_no_policy_charges_is_free() -> None:
    door = Door(policy("signups", address=1))
    assert await door.limits.charge("syncs", "192.0.2.1", "u1") is None
    assert await door.limits.samples(200, "192.0.2.1", "u1") == (200, 0, None)
    door.limits.refund(None)
    assert door.counted("syncs", "refunded") == 0


@in_virtual_time
@pytest.mark.parametrize(
    ("samples", "want"),
    [(0, [(0, 0)] * 3), (1, [(1, 0)] * 3), (2, [(2, 0), (2, 0), (2, 0), (2, 0), (1, 60)]), (5, [(5, 0), (1, 240)]), (9, [(5, 240), (1, 240)])],
)
async def test_a_requests_first_sample_is_paid_for(samples: int, want: list[tuple[int, int]]) -> None:
    door = Door(policy("samples", user=4))
    found = [await door.limits.samples(samples, "192.0.2.1", "u1") for _ in want]
    assert [(granted, wait_s) for granted, wait_s, _ in found] == want
    assert [paid.tokens if paid else 0 for _, _, paid in found] == [max(granted - 1, 0) for granted, _ in want]


@in_virtual_time
async def test_random_identities_of_one_network_make_no_more_keys_than_configured() -> None:
    door = Door(policy("signups", address=5), newcomers_per_s=1, newcomers_burst=50)
    found = [await door.refusal("signups", f"2001:db8:7:{n:x}::1") for n in range(500)]
    refused = [one for one in found if one is not None]
    assert len(refused) == 450
    assert {(one.problem.code, one.members["policy"]) for one in refused} == {("rate-limited", "p-newcomers")}
    assert await door.refusal("signups", "2001:db8:8::1") is None  # another network
    assert await door.refusal("signups", "2001:db8:7:1::1") is None  # one who was there before
    assert door.counted("signups", "newcomers") == 450


@in_virtual_time
async def test_a_shadow_spends_nothing_that_others_have() -> None:
    door = Door(policy("syncs", "a", user=5), policy("syncs", "b", shadow=True, user=5), newcomers_per_s=0.01, newcomers_burst=30)
    assert [await door.refusal("syncs", user=f"u{n}") for n in range(30)] == [None] * 30
    assert await door.refusal("syncs", user="u30") is not None


@in_virtual_time
async def test_a_shadow_is_asked_for_samples_as_the_enforced_one_is() -> None:
    """As many as there are, and counted one by one: what enforcing it would do."""
    door = Door(policy("samples", "a", user=4), policy("samples", "b", shadow=True, user=4))
    for samples in (3, 9, 9):
        await door.limits.samples(samples, "192.0.2.1", "u1")
        await asyncio.sleep(0.1)
    enforced = [door.counted("samples", result) for result in ("admitted", "user")]
    assert [door.counted("samples", f"shadow_{result}") for result in ("admitted", "refused")] == enforced == [3 + 3 + 1, 6 + 8]


@in_virtual_time
@pytest.mark.parametrize("with_enforced", [True, False])
@pytest.mark.parametrize("is_known", [True, False])
async def test_what_is_refunded_comes_back_to_shadows(with_enforced: bool, is_known: bool) -> None:
    """Else a shadow would refuse after every failure of the store, and the enforced one would not."""
    enforced = [policy("syncs", "a", user=1), policy("samples", "c", user=4)] if with_enforced else []
    door = Door(*enforced, policy("syncs", "b", shadow=True, user=1), policy("samples", "d", shadow=True, user=4))
    for _ in range(3):
        paid = await door.limits.charge("syncs", "192.0.2.1", "u1")
        _, _, paid_samples = await door.limits.samples(5, "192.0.2.1", "u1")
        if is_known:
            await asyncio.sleep(0.1)
        door.limits.refund(paid)
        door.limits.refund(paid_samples, 9)  # no more than was paid
        await asyncio.sleep(0.1)
    assert [door.counted(charge, f"shadow_{result}") for charge in ("syncs", "samples") for result in ("admitted", "refused")] == [3, 0, 15, 0]
    await door.limits.samples(9, "192.0.2.1", "u1")
    await asyncio.sleep(0.1)
    assert [door.counted("samples", f"shadow_{result}") for result in ("admitted", "refused")] == [20, 4]


@in_virtual_time
async def test_a_shadow_that_refused_is_not_refunded() -> None:
    door = Door(policy("syncs", "a", user=9), policy("syncs", "b", shadow=True, user=2))
    paid = [await door.limits.charge("syncs", "192.0.2.1", "u1") for _ in range(3)]
    await asyncio.sleep(0.1)
    door.limits.refund(paid[2])
    await asyncio.sleep(0.1)
    await door.limits.charge("syncs", "192.0.2.1", "u1")
    await asyncio.sleep(0.1)
    assert [door.counted("syncs", f"shadow_{result}") for result in ("admitted", "refused")] == [2, 2]


@in_virtual_time
async def test_an_operator_sees_how_far_the_limits_can_have_been_exceeded_and_what_was_lost() -> None:
    door = Door(policy("syncs", on_error="open", user=2))

    async def away(*_: object) -> Any:
        raise StoreAway("gone")

    assert await door.refusal("syncs", user="u1") is None
    door.store.decide = door.store.beat = away  # type: ignore[assignment, method-assign]
    for _ in range(5):
        paid = await door.limits.charge("syncs", "192.0.2.1", "u2")
    assert paid is not None
    door.limits.refund(msgspec.structs.replace(paid, source="store"))
    await door.limiter._beat()
    counts = door.limiter.counts
    counts.full = 3
    for _ in range(2):  # shown twice, counted once
        door.limits.show()
    assert count(door.slot, "sluicegate_limiter_alone_tokens_total") == 5
    assert [count(door.slot, "sluicegate_limiter_lost_total", what) for what in ("full", "refunds", "beats")] == [3, 1, 1]
    ends = [count(door.slot, "sluicegate_limiter_calls_total", result) for result in ("answered", "late", "failed")]
    assert (ends, sum(ends)) == ([1, 0, 1], counts.calls)


@in_virtual_time
async def test_a_call_that_was_late_and_then_failed_is_one_that_failed() -> None:
    door = Door(policy("syncs", user=9))

    async def slow(*_: object) -> Any:
        await asyncio.sleep(0.05)
        raise StoreAway("gone")

    decide = door.store.decide
    for how in (slow, decide):
        door.store.decide = how  # type: ignore[assignment, method-assign]
        assert await door.refusal("syncs", user="u1") is None
        await asyncio.sleep(0.2)
        door.store.decide = decide  # type: ignore[method-assign]
        await asyncio.sleep(1)
    door.limits.show()
    ends = [count(door.slot, "sluicegate_limiter_calls_total", result) for result in ("answered", "late", "failed")]
    assert (ends, sum(ends)) == ([2, 0, 1], door.limiter.counts.calls)


@in_virtual_time
async def test_samples_that_were_lost_cost_nothing() -> None:
    door = Door(policy("samples", user=4))
    for _ in range(3):
        granted, _, paid = await door.limits.samples(5, "192.0.2.1", "u1")
        assert granted == 5
        door.limits.refund(paid, 5)
        await asyncio.sleep(0.1)


@in_virtual_time
async def test_what_cannot_be_decided_is_said_to_be_so() -> None:
    door = Door(policy("syncs", on_error="closed", user=5))

    async def away(_: object) -> None:
        raise StoreAway("gone")

    door.store.decide = away  # type: ignore[assignment, method-assign]
    refused = await door.refusal("syncs", user="u1")
    assert refused is not None
    assert (refused.problem.code, "cannot be decided" in refused.detail, refused.headers) == ("overloaded", True, ())


@in_virtual_time
async def test_names_of_people_are_keyed() -> None:
    """Who knows the form of a key and not the secret finds nobody by it."""
    keys = set()
    for secret in (SECRET, b"t" * 32):
        door = Door(policy("syncs", user=2), secret=secret)
        paid = await door.limits.charge("syncs", "192.0.2.1", "u1")
        assert paid is not None
        keys.add(paid.keys[0])
    assert len(keys) == 2


@in_virtual_time
async def test_a_refund_gives_the_token_back() -> None:
    door = Door(policy("syncs", user=1))
    paid = await door.limits.charge("syncs", "192.0.2.1", "u1")
    door.limits.refund(paid, 7)  # no more than was paid
    await asyncio.sleep(0.1)
    assert door.counted("syncs", "refunded") == 1
    assert await door.refusal("syncs", user="u1") is None
    assert await door.refusal("syncs", user="u1") is not None


@in_virtual_time
async def test_a_reload_keeps_what_was_spent() -> None:
    door = Door(policy("syncs", user=2))
    assert [bool(await door.refusal("syncs", user="u1")) for _ in range(3)] == [False, False, True]
    door.limits.reload(config.Limits(policies=(policy("syncs", user=3),)))
    assert [bool(await door.refusal("syncs", user="u1")) for _ in range(2)] == [False, True]
    door.limits.reload(config.Limits(policies=()))
    assert await door.refusal("syncs", user="u1") is None


def bad(*policies: config.LimitPolicy, **settings: Any) -> str:
    complaints = [complaint for is_wrong, complaint in config._contradicting_limits(config.Limits(policies=policies, **settings)) if is_wrong]
    return complaints[0] if complaints else ""


@pytest.mark.parametrize(
    ("policies", "want"),
    [
        ([policy("syncs", user=1), policy("signups", address=1)], "a name is used twice"),
        ([policy("syncs", "a", user=1), policy("syncs", "b", user=1)], "at most one without `shadow`"),
        ([policy("syncs", "a", **all_of(1)), policy("signups", "b", **all_of(2))], "the global bucket is one"),
        ([policy("signups", user=1)], "no rule by user"),
        ([policy("samples", **all_of(1))], "no rule by global"),
        ([msgspec.structs.replace(policy("syncs", user=1), rules=(config.LimitRule("user", 1, 60, 1),) * 2)], "one rule for each `by`"),
        ([policy("syncs", user=1_000_000)], "fills within a year"),
        ([policy("syncs", "a", user=1), policy("syncs", "b", shadow=True, user=1)], ""),
    ],
)
def test_policies_that_contradict_each_other(policies: list[config.LimitPolicy], want: str) -> None:
    found = bad(*policies)
    assert want in found
    assert bool(want) == bool(found)


@in_virtual_time
async def test_what_is_remembered_of_a_crowd_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_REMEMBERED_MAX", 3)
    made: list[tuple[str, str]] = []
    door = Door(policy("syncs", user=2))
    real = door.limits._hash
    monkeypatch.setattr(door.limits, "_hash", lambda what, who: made.append((what, who)) or real(what, who))  # type: ignore[func-returns-value]
    for _ in range(2):
        for n in range(4):
            await door.refusal("syncs", user=f"u{n}")
    # The fourth found it full and began anew, and so did the third of the second round: nobody was remembered long enough.
    assert [who for what, who in made if what == "user"] == ["u0", "u1", "u2", "u3", "u0", "u1", "u2", "u3"]
