"""The arithmetic of what quotas cost others."""

from pathlib import Path

from benchmarks.arrivals import NO_RETRY_AFTER, Try
from benchmarks.bench_limits import MEMBERS, PACE_PER_S, RATE, SETTINGS, TIMES, between, p99_ms
from gateway import config


def tried(due_s: float, latency_s: float, status: int = 202) -> Try:
    return Try(0, 1, status, due_s, latency_s, 0.0, NO_RETRY_AFTER)


def test_the_p99_is_of_those_accepted() -> None:
    assert p99_ms([]) == 0.0
    assert p99_ms([tried(n, n / 1_000) for n in range(100)] + [tried(0, 9.0, 429)]) == 99.0


def test_a_time_begins_where_the_one_before_ends() -> None:
    tries = [tried(at_s, 0.0) for at_s in (0.0, 1.0, 2.0)]
    assert [[one.due_s for one in between(tries, begin_s, begin_s + 1)] for begin_s in (0, 1, 2)] == [[0.0], [1.0], [2.0]]


def test_the_settings_are_valid_and_only_the_one_user_meets_his_limit(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(SETTINGS)
    [policy] = config.load(path, {}).limits.policies
    assert [(rule.by, rule.tokens) for rule in policy.rules if rule.by == "user"] == [("user", RATE)]
    assert PACE_PER_S / MEMBERS < RATE / 10
    assert all(rule.tokens > 2 * RATE * TIMES for rule in policy.rules if rule.by != "user")
