"""A wrong setting is one sentence that names it; the environment wins; secrets do not show."""

from pathlib import Path

import pytest

from gateway import config
from gateway.config import Config, Limits, Notices, Process, Room
from gateway.errors import ConfigError

SHADOW = "{name = 'p%d', charge = 'syncs', shadow = true, rules = [{by = 'user', tokens = 1, per_s = 1, burst = 1}]}"

# settings → what the one line says after the file's name
WRONG = [
    ("[http", "not valid TOML: "),
    ("[htpp]", "top level: Object contains unknown field `htpp`"),
    ("[http]\nbnid = 'x:1'", "http: Object contains unknown field `bnid`"),
    ("[http]\nbind = '8080'", "http.bind: Expected `str` matching regex"),
    ('[http]\nbind = "127.0.0.1:80\\n"', "http.bind: Expected `str` matching regex"),
    ('[deliver]\nsyncs_topic = "syncs\\n"', "deliver.syncs_topic: Expected `str` matching regex"),
    ('[deliver]\nsignups_topic = "signups\\n"', "deliver.signups_topic: Expected `str` matching regex"),
    ('[limits]\nprefix = "p\\n"', "limits.prefix: Expected `str` matching regex"),
    ("[http]\nbind = 'x:99999'", "http.bind: x:99999: want a port of at most 65535"),
    ("[http]\nbacklog = '4096'", "http.backlog: Expected `int`, got `str`"),
    ("[http]\nbacklog = 1", "http.backlog: Expected `int` >= 16"),
    ("[http]\nheaders_timeout_s = 0", "http.headers_timeout_s: Expected `float` > 0"),
    ("[http]\nheaders_timeout_s = nan", "http.headers_timeout_s: "),
    ("[http]\ntrusted_proxies = ['10.0.0.0/8', 'proxy']", "http.trusted_proxies: 'proxy': want an address or a network such as 10.0.0.0/8"),
    ("[http]\nconnections_max = 10", "http.connections_per_address_max must not exceed http.connections_max"),
    ("[ops]\nbind = '127.0.0.1:8080'", "http.bind and ops.bind must differ"),
    ("[process]\nworkers = -1", "process.workers: Expected `int` >= 0"),
    ("[process]\nworkers = 257", "process.workers: Expected `int` <= 256"),
    ("[process]\ndrain_s = 10", "process.drain_s must exceed 36 (drain_lag_s + 1 + http.body_timeout_s + deliver.timeout_ms + http.write_timeout_s)"),
    ("[http]\nbody_timeout_s = 19", "process.drain_s must exceed 40 "),
    ("[identity]\nissuer = ''", "identity.issuer: "),
    ("[deliver]\nsyncs_topic = 'a b'", "deliver.syncs_topic: "),
    ("[deliver]\nsyncs_topic = 'x'\nsignups_topic = 'x'", "deliver.syncs_topic, deliver.signups_topic and deliver.audit_topic must differ"),
    ("[deliver]\naudit_topic = 'signups.v1'", "deliver.syncs_topic, deliver.signups_topic and deliver.audit_topic must differ"),
    ("[deliver]\ntimeout_ms = 0", "deliver.timeout_ms: Expected `int` >= 1"),
    ("[deliver]\nstall_ms = 6000", "deliver.stall_ms must not exceed deliver.timeout_ms"),
    ("[deliver]\nhedge_ms = 5000", "deliver.hedge_ms must be below deliver.timeout_ms"),
    ("[deliver]\nlinger_ms = 1000", "deliver.linger_ms must be below deliver.stall_ms"),
    ("[deliver]\nbatch_bytes_max = 1000000\nin_flight_bytes_max = 500000", "deliver.batch_bytes_max must not exceed deliver.in_flight_bytes_max"),
    ("[deliver]\nin_flight_bytes_max = 262144", "http.body_bytes_max must be below deliver.in_flight_bytes_max"),
    ("[deliver]\nallow_single_copy = 'yes'", "deliver.allow_single_copy: Expected `bool`, got `str`"),
    ("[spool]\nenabled = 1", "spool.enabled: Expected `bool`, got `int`"),
    ("[spool]\ndirectory = '../x'", "spool.directory: Expected `str` matching regex"),
    ("[spool]\ndirectory = '..'", "spool.directory: Expected `str` matching regex"),
    ("[spool]\nsegment_bytes = 1", "spool.segment_bytes: Expected `int` >= 65536"),
    ("[spool]\nbytes_max = 400000000", "spool.bytes_max must be at least 402653184 (2 x segment_bytes + signups_reserve_bytes)"),
    ("[spool]\nsegment_bytes = 65536", "deliver.batch_bytes_max must not exceed spool.segment_bytes"),
    ("[redis]\nurl = 'http://x'", "redis.url: "),
    (f"[limits]\npolicies = [{', '.join(SHADOW % n for n in range(17))}]", "limits.policies: Expected `array` of length <= 16"),
    ("[notices]\nmax_age_s = -1", "notices.max_age_s: Expected `int` >= 0"),
]


@pytest.mark.parametrize(("settings", "complaint"), WRONG, ids=[settings[:60] for settings, _ in WRONG])
def test_a_wrong_setting_is_named(tmp_path: Path, settings: str, complaint: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(settings)
    with pytest.raises(ConfigError) as caught:
        config.load(path, {})
    said = str(caught.value)
    assert said.startswith(f"{path}: {complaint}"), said
    assert "\n" not in said


def test_an_unreadable_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        config.load(tmp_path / "none.toml", {})
    (tmp_path / "latin.toml").write_bytes(b"[http]\nbind = '\xe9:1'")
    with pytest.raises(ConfigError, match="not valid TOML"):
        config.load(tmp_path / "latin.toml", {})


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[process]\nworkers = 3\ndrain_lag_s = 1.0\n[http]\nbind = 'a:1'\n")
    values = {
        "GATEWAY_PUBLIC_BIND": "0.0.0.0:80",
        "GATEWAY_OPS_BIND": "",  # an empty one counts as not set
        "GATEWAY_KAFKA_BOOTSTRAP": "k1:9092,k2:9092",
        "GATEWAY_WORKERS": "2",
        "GATEWAY_ALLOW_SINGLE_COPY": "1",
        "GATEWAY_UNKNOWN": "x",
        "PATH": "/bin",
    }
    loaded = config.load(path, values)
    assert (loaded.http.bind, loaded.ops.bind, loaded.deliver.bootstrap) == ("0.0.0.0:80", "127.0.0.1:8081", "k1:9092,k2:9092")
    assert (loaded.process.workers, loaded.process.drain_lag_s, loaded.deliver.allow_single_copy) == (2, 1.0, True)


@pytest.mark.parametrize(
    ("name", "value"), [("GATEWAY_WORKERS", "two"), ("GATEWAY_WORKERS", "300"), ("GATEWAY_ALLOW_SINGLE_COPY", "maybe"), ("GATEWAY_PUBLIC_BIND", "80")]
)
def test_a_wrong_environment_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^environment {name}: "):
        config.load(None, {name: value})


def test_a_reload_takes_notices_and_limits_and_keeps_the_prefix_of_the_buckets() -> None:
    running = config.load(None, {})
    fresh = Config(limits=Limits(prefix="other:", policies=(), newcomers_burst=7), notices=Notices(max_age_s=5), process=Process(workers=9))
    after = config.reloaded(running, fresh)
    assert (after.limits.policies, after.limits.newcomers_burst, after.notices.max_age_s) == ((), 7, 5)
    assert (after.limits.prefix, after.process) == (running.limits.prefix, running.process)


def test_every_name_of_the_environment_is_a_setting() -> None:
    for section, setting in config.ENVIRONMENT.values():
        assert hasattr(getattr(Config(), section), setting)


def test_without_a_number_there_is_a_worker_per_core_this_process_may_use() -> None:
    assert Config().process.workers == 0
    assert Config().worker_count >= 1


def test_what_is_in_force_is_shown_with_passwords_masked() -> None:
    loaded = config.load(None, {"GATEWAY_REDIS_URL": "rediss://user:hunter2@cache:6379/0"})
    shown = config.masked(loaded).splitlines()
    assert 'redis.url = "rediss://user:***@cache:6379/0"' in shown
    assert "process.drain_s = 40.0" in shown
    assert "hunter2" not in config.masked(loaded)
    rows = [("redis://:p@h/0", "redis://:***@h/0"), ("redis://h:1/0", "redis://h:1/0"), ("redis://u:p@@h", "redis://u:***@h")]
    # Redis clients read them in the query too, its names percent-encoded or not.
    rows += [("redis://h/0?password=p", "redis://h/0?password=***"), ("unix:///s?db=1&username=u&pass%77ord=p", "unix:///s?db=1&username=***&pass%77ord=***")]
    rows += [("redis://u:p@h?password=a=b&db=2", "redis://u:***@h?password=***&db=2"), ("unix:///run/s.sock", "unix:///run/s.sock")]
    for url, masked in rows:
        assert config.mask_url(url) == masked


def test_a_reload_takes_of_the_room_what_no_ticket_was_made_with() -> None:
    running = Config(room=Room(name="a", epoch=1, line_max=5, floor_per_s=10))
    fresh = Config(room=Room(name="b", epoch=2, line_max=6, floor_per_s=20, revoked=(3,), title="new"))
    after = config.reloaded(running, fresh).room
    assert (after.name, after.epoch, after.line_max) == ("a", 1, 5)
    assert (after.floor_per_s, after.revoked, after.title) == (20, (3,), "new")
