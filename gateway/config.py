"""One TOML file, decoded once into frozen sections; the environment only for addresses and secrets.

Each part of the program is given its own section, never the whole.  A bound
stands beside its setting (msgspec Meta); what two settings say to each other is
checked in `_contradictions`.  An unknown setting is an error.  gateway.toml in
the repository root shows every setting with its default, unit and reason; a
test holds file and defaults equal.
"""

import ipaddress
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import unquote_plus, urlsplit, urlunsplit

import msgspec
from msgspec import Meta, Struct

from gateway.errors import ConfigError
from ratelimit.bucket import Limit

# The environment's names and the settings they set.  Nothing else reads the environment.
ENVIRONMENT: Final = {
    "GATEWAY_PUBLIC_BIND": ("http", "bind"),
    "GATEWAY_OPS_BIND": ("ops", "bind"),
    "GATEWAY_KAFKA_BOOTSTRAP": ("deliver", "bootstrap"),
    "GATEWAY_REDIS_URL": ("redis", "url"),
    "GATEWAY_REDIS_ROOM_URL": ("redis", "room_url"),
    "GATEWAY_DATA_DIR": ("process", "data_dir"),
    "GATEWAY_KEYS_FILE": ("identity", "keys_file"),
    "GATEWAY_WORKERS": ("process", "workers"),
    "GATEWAY_ALLOW_SINGLE_COPY": ("deliver", "allow_single_copy"),
}

_PORT_MAX: Final = 65_535

# How long a connection made in the last moment before accepting ends may take to send its request.
LAST_REQUEST_S: Final = 1.0

# What SIGHUP changes of a room: nothing that the line in Redis, or a ticket, was made with.
ROOM_RELOADED: Final = ("title", "title_ko", "floor_per_s", "ceiling_per_s", "lag_target", "held_max", "continue_url", "revoked")

# Three may be enforced; each of the others is a shadow, and one more question to Redis per request.
POLICIES_MAX: Final = 16

Milliseconds = Annotated[int, Meta(ge=1, le=600_000)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
# \Z ends every pattern: `$` would let a newline follow.
Bind = Annotated[str, Meta(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\s]+):[0-9]{1,5}\Z")]
Topic = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9._-]{1,249}\Z")]


class Http(Struct, frozen=True, forbid_unknown_fields=True):
    """The public port: what a connection may cost before it is a request."""

    bind: Bind = "127.0.0.1:8080"
    backlog: Annotated[int, Meta(ge=16, le=65_535)] = 4096
    trusted_proxies: tuple[str, ...] = ()
    connections_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    connections_per_address_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    head_bytes_max: Annotated[int, Meta(ge=4_096, le=262_144)] = 16_384
    headers_timeout_s: Seconds = 10.0
    write_timeout_s: Seconds = 10.0
    keepalive_s: Seconds = 75.0
    lingering_s: Annotated[float, Meta(ge=0, le=10)] = 1.0
    body_timeout_s: Seconds = 15.0
    body_rate_min: Annotated[int, Meta(ge=1)] = 1_000
    body_grace_s: Seconds = 2.0
    body_bytes_max: Annotated[int, Meta(ge=1_024, le=16_777_216)] = 262_144
    signup_bytes_max: Annotated[int, Meta(ge=1_024, le=1_048_576)] = 16_384
    gzip_ratio_max: Annotated[int, Meta(ge=2, le=1_100)] = 100


class Ops(Struct, frozen=True, forbid_unknown_fields=True):
    """The operators' port: health and metrics."""

    bind: Bind = "127.0.0.1:8081"


class Process(Struct, frozen=True, forbid_unknown_fields=True):
    """The supervisor and its workers."""

    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    data_dir: str = "var"
    drain_lag_s: Annotated[float, Meta(ge=0, le=600)] = 5.0
    drain_s: Seconds = 40.0
    wedged_s: Annotated[float, Meta(ge=1, le=600)] = 10.0


class Identity(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may say they are whom: bearer tokens."""

    keys_file: str = ""
    issuer: Annotated[str, Meta(min_length=1)] = "sluicegate"
    audience: Annotated[str, Meta(min_length=1)] = "sluicegate"
    leeway_s: Annotated[int, Meta(ge=0, le=300)] = 30
    token_bytes_max: Annotated[int, Meta(ge=64, le=8_000)] = 4_096
    cache_max: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000


class Deliver(Struct, frozen=True, forbid_unknown_fields=True):
    """The way into Kafka."""

    bootstrap: Annotated[str, Meta(min_length=3)] = "127.0.0.1:9092"
    syncs_topic: Topic = "syncs.v1"
    signups_topic: Topic = "signups.v1"
    audit_topic: Topic = "audit.v1"
    allow_single_copy: bool = False
    linger_ms: Annotated[float, Meta(ge=0, le=1_000)] = 2.0
    hedge_ms: Milliseconds = 250
    timeout_ms: Milliseconds = 5_000
    stall_ms: Milliseconds = 1_000
    connect_timeout_ms: Milliseconds = 2_000
    batch_bytes_max: Annotated[int, Meta(ge=1_024, le=16_777_216)] = 262_144
    in_flight_bytes_max: Annotated[int, Meta(ge=65_536)] = 67_108_864


class Spool(Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker keeps on disk while Kafka is slow or away."""

    enabled: bool = True
    directory: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,63}\Z")] = "spool"
    bytes_max: Annotated[int, Meta(ge=1_048_576, le=2**50)] = 8_589_934_592
    signups_reserve_bytes: Annotated[int, Meta(ge=0, le=2**50)] = 268_435_456
    segment_bytes: Annotated[int, Meta(ge=65_536, le=1_073_741_824)] = 67_108_864
    rejected_bytes_max: Annotated[int, Meta(ge=0, le=2**40)] = 16_777_216


class LimitRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One token bucket for everybody (global), for everybody on this route, or for each address, user or pass."""

    by: Literal["global", "route", "address", "user", "pass"]
    tokens: Annotated[float, Meta(gt=0, le=100_000)]
    per_s: Annotated[float, Meta(gt=0, le=604_800)]
    burst: Annotated[int, Meta(ge=1, le=1_000_000)]


class LimitPolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """Buckets that pass all or none."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")]
    charge: Literal["syncs", "signups", "samples", "joins"]
    rules: Annotated[tuple[LimitRule, ...], Meta(min_length=1, max_length=8)]
    on_error: Literal["local", "open", "closed"] = "local"
    shadow: bool = False


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Token buckets in Redis: who may send how much."""

    decide_timeout_ms: Annotated[int, Meta(ge=1, le=100)] = 30
    prefix: Annotated[str, Meta(pattern=r"^[\x21-\x7a|~]{1,64}\Z")] = "sluicegate:limit:"
    memory_max: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    newcomers_per_s: Annotated[float, Meta(gt=0, le=100_000)] = 500.0
    newcomers_burst: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    policies: Annotated[tuple[LimitPolicy, ...], Meta(max_length=POLICIES_MAX)] = (
        LimitPolicy(
            "syncs",
            "syncs",
            (LimitRule("global", 20_000, 1, 40_000), LimitRule("route", 20_000, 1, 40_000), LimitRule("address", 500, 1, 5_000), LimitRule("user", 1, 10, 60)),
        ),
        LimitPolicy(
            "signups",
            "signups",
            (LimitRule("global", 20_000, 1, 40_000), LimitRule("route", 2_000, 1, 4_000), LimitRule("address", 100, 1, 1_000), LimitRule("pass", 1, 1_200, 10)),
        ),
        LimitPolicy("joins", "joins", (LimitRule("route", 20_000, 1, 40_000), LimitRule("address", 200, 1, 5_000))),
        LimitPolicy("samples", "samples", (LimitRule("user", 1, 1, 2_000),)),
    )


class Redis(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the buckets are, and the waiting room's line."""

    url: Annotated[str, Meta(pattern=r"^(redis|rediss|unix)://")] = "redis://127.0.0.1:6379/0"
    room_url: Annotated[str, Meta(pattern=r"^((redis|rediss|unix)://.*)?\Z")] = ""


class Room(Struct, frozen=True, forbid_unknown_fields=True):
    """The waiting room that sign-ups go through; no name, no room."""

    name: Annotated[str, Meta(pattern=r"^([a-z0-9][a-z0-9-]{0,31})?\Z")] = ""
    epoch: Annotated[int, Meta(ge=0, le=2**53 - 1)] = 0
    title: Annotated[str, Meta(max_length=80)] = ""
    title_ko: Annotated[str, Meta(max_length=80)] = ""
    floor_per_s: Annotated[float, Meta(ge=1 / 60, le=10_000)] = 10.0
    ceiling_per_s: Annotated[float, Meta(ge=1 / 60, le=10_000)] = 1_000.0
    takes_per_s: Annotated[float, Meta(ge=0, le=100_000)] = 0.0
    consumer_group: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9._-]{0,249}\Z")] = ""
    lag_target: Annotated[int, Meta(ge=0, le=100_000_000)] = 2_000
    line_max: Annotated[int, Meta(ge=1, le=4_000_000)] = 2_000_000
    held_max: Annotated[int, Meta(ge=1, le=100_000)] = 5_000
    poll_budget_per_s: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    tick_ms: Annotated[int, Meta(ge=50, le=1_000)] = 250
    fleet_workers_max: Annotated[int, Meta(ge=1, le=4_096)] = 16
    continue_url: Annotated[str, Meta(pattern=r"^(https?://[^\s#]+)?\Z")] = ""
    cors_origins: tuple[Annotated[str, Meta(pattern=r"^https?://[^/\s]+\Z")], ...] = ()
    revoked: tuple[Annotated[int, Meta(ge=0)], ...] = ()


class Notices(Struct, frozen=True, forbid_unknown_fields=True):
    """What the app's pop-up shows."""

    file: str = ""
    max_age_s: Annotated[int, Meta(ge=0, le=86_400)] = 60


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """All sections, in the order of gateway.toml."""

    http: Http = Http()
    ops: Ops = Ops()
    process: Process = Process()
    identity: Identity = Identity()
    deliver: Deliver = Deliver()
    spool: Spool = Spool()
    limits: Limits = Limits()
    redis: Redis = Redis()
    room: Room = Room()
    notices: Notices = Notices()

    @property
    def keys_path(self) -> Path:
        """The keys file: where the setting says, else keys.json in the data directory."""
        return Path(self.identity.keys_file or Path(self.process.data_dir) / "keys.json")

    @property
    def spool_path(self) -> Path:
        """Where each worker has its directory."""
        return Path(self.process.data_dir) / self.spool.directory

    @property
    def worker_count(self) -> int:
        """process.workers, or one per core this process may use when it is 0."""
        return self.process.workers or len(os.sched_getaffinity(0))


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the file (None: defaults alone), lay the environment over it, and check everything.

    Raises:
        ConfigError: one line that names the file, the setting, and what was wanted.
    """
    environ = os.environ if environ is None else environ
    settings: dict[str, object] = {}
    if path is not None:
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as exc:
            raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{path}: not valid TOML: {exc}") from exc
    source = str(path) if path else "defaults"
    config = _convert(settings, source)
    return _checked(_with_environment(config, environ), source)


def reloaded(running: Config, fresh: Config) -> Config:
    """What is in force after SIGHUP: notices, limits and what ROOM_RELOADED names of the fresh settings, all else as it runs.

    The prefix of the buckets stays as well: under another one everybody would begin with full buckets.
    """
    limits = msgspec.structs.replace(fresh.limits, prefix=running.limits.prefix)
    room = msgspec.structs.replace(running.room, **{name: getattr(fresh.room, name) for name in ROOM_RELOADED})
    return msgspec.structs.replace(running, notices=fresh.notices, limits=limits, room=room)


def _convert(settings: Mapping[str, object], source: str) -> Config:
    try:
        return msgspec.convert(settings, Config)
    except msgspec.ValidationError as exc:
        what, _, where = str(exc).partition(" - at `$.")
        raise ConfigError(f"{source}: {where.rstrip('`') or 'top level'}: {what}") from exc


def _with_environment(config: Config, environ: Mapping[str, str]) -> Config:
    """Values of the environment win over the file's; an empty one counts as not set."""
    for name, (section, setting) in ENVIRONMENT.items():
        text = environ.get(name, "")
        if not text:
            continue
        part = msgspec.to_builtins(getattr(config, section)) | {setting: text}
        try:
            # strict=False reads "2" as a number and "1" as true, which is all an environment can say.
            changed = msgspec.convert(part, type(getattr(config, section)), strict=False)
        except msgspec.ValidationError as exc:
            raise ConfigError(f"environment {name}: {str(exc).partition(' - at ')[0]}") from exc
        config = msgspec.structs.replace(config, **{section: changed})
    return config


def _checked(config: Config, source: str) -> Config:
    for is_wrong, complaint in _contradictions(config):
        if is_wrong:
            raise ConfigError(f"{source}: {complaint}")
    return config


def _contradictions(config: Config) -> Iterator[tuple[bool, str]]:
    """What two settings may not say to each other; the first that is true is reported."""
    http, process, deliver = config.http, config.process, config.deliver
    # The last one to connect: its head, then a slow body, an acknowledgement that takes its time, an answer read slowly.
    last_s = process.drain_lag_s + LAST_REQUEST_S + http.body_timeout_s + deliver.timeout_ms / 1000 + http.write_timeout_s
    yield (
        last_s >= process.drain_s,
        f"process.drain_s must exceed {last_s:g} (drain_lag_s + {LAST_REQUEST_S:g} + http.body_timeout_s + deliver.timeout_ms + http.write_timeout_s)",
    )
    yield deliver.stall_ms > deliver.timeout_ms, "deliver.stall_ms must not exceed deliver.timeout_ms"
    yield deliver.hedge_ms >= deliver.timeout_ms, "deliver.hedge_ms must be below deliver.timeout_ms"
    yield deliver.linger_ms >= deliver.stall_ms, "deliver.linger_ms must be below deliver.stall_ms"
    yield deliver.batch_bytes_max > deliver.in_flight_bytes_max, "deliver.batch_bytes_max must not exceed deliver.in_flight_bytes_max"
    yield http.body_bytes_max >= deliver.in_flight_bytes_max, "http.body_bytes_max must be below deliver.in_flight_bytes_max"
    spool = config.spool
    # One segment is being written while another is drained; a segment's bytes come back all at once.
    least = 2 * spool.segment_bytes + spool.signups_reserve_bytes
    yield spool.bytes_max < least, f"spool.bytes_max must be at least {least} (2 x segment_bytes + signups_reserve_bytes)"
    yield deliver.batch_bytes_max > spool.segment_bytes, "deliver.batch_bytes_max must not exceed spool.segment_bytes"
    yield config.identity.token_bytes_max >= http.head_bytes_max, "identity.token_bytes_max must be below http.head_bytes_max"
    yield http.connections_per_address_max > http.connections_max, "http.connections_per_address_max must not exceed http.connections_max"
    topics = {deliver.syncs_topic, deliver.signups_topic, deliver.audit_topic}
    yield len(topics) < 3, "deliver.syncs_topic, deliver.signups_topic and deliver.audit_topic must differ"
    yield http.bind == config.ops.bind and not http.bind.endswith(":0"), "http.bind and ops.bind must differ"
    for name, bind in (("http.bind", http.bind), ("ops.bind", config.ops.bind)):
        yield int(bind.rpartition(":")[2]) > _PORT_MAX, f"{name}: {bind}: want a port of at most {_PORT_MAX}"
    for name, url in (("redis.url", config.redis.url), ("redis.room_url", config.redis.room_url or config.redis.url)):
        yield not _is_url(url), f"{name}: want an address such as redis://127.0.0.1:6379/0"
    room = config.room
    yield room.floor_per_s > room.ceiling_per_s, "room.floor_per_s must not exceed room.ceiling_per_s"
    yield bool(room.name) and not room.epoch, "room.epoch: want a number that only this line has, such as its day: 20261218"
    for address in http.trusted_proxies:
        yield not _is_network(address), f"http.trusted_proxies: {address!r}: want an address or a network such as 10.0.0.0/8"
    yield from _contradicting_limits(config.limits)


def _contradicting_limits(limits: Limits) -> Iterator[tuple[bool, str]]:
    names = [policy.name for policy in limits.policies]
    yield len(set(names)) < len(names), "limits.policies: a name is used twice"
    enforced = [policy for policy in limits.policies if not policy.shadow]
    charges = [policy.charge for policy in enforced]
    yield len(set(charges)) < len(charges), "limits.policies: want at most one without `shadow` for each `charge`"
    shared = {rule for policy in enforced for rule in policy.rules if rule.by == "global"}
    yield len(shared) > 1, "limits.policies: the global bucket is one: want the same numbers in every policy"
    for policy in limits.policies:
        where = f"limits.policies {policy.name}"
        by = [rule.by for rule in policy.rules]
        yield len(set(by)) < len(by), f"{where}: want one rule for each `by`"
        yield policy.charge in ("signups", "joins") and "user" in by, f"{where}: who signs up is no user yet: want no rule by user"
        yield policy.charge != "signups" and "pass" in by, f"{where}: only sign-ups come with a pass: want no rule by pass"
        yield policy.charge == "samples" and "global" in by, f"{where}: samples are no requests: want no rule by global"
        for rule in policy.rules:
            yield not _can_be(rule.tokens, rule.per_s, rule.burst), f"{where}, by {rule.by}: want a bucket that fills within a year, of at most a token per µs"
    yield not _can_be(limits.newcomers_per_s, 1, limits.newcomers_burst), "limits.newcomers: want a bucket that fills within a year"


def _can_be(tokens: float, per_s: float, burst: int) -> bool:
    try:
        Limit.per(tokens, per_s, burst)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _is_url(text: str) -> bool:
    try:
        urlsplit(text).port  # noqa: B018 - both may raise
    except ValueError:
        return False
    return True


def masked(config: Config) -> str:
    """Every setting in force, one `section.setting = value` a line, passwords in addresses masked."""
    lines = []
    for section, settings in msgspec.to_builtins(config).items():
        for name, value in settings.items():
            shown = mask_url(value) if name in {"url", "room_url"} else value
            lines.append(f"{section}.{name} = {msgspec.json.encode(shown).decode()}")
    return "\n".join(lines)


def mask_url(url: str) -> str:
    """The address with its password replaced by ***, wherever a Redis client would read one."""
    address, question, query = url.partition("?")
    parts = urlsplit(address)
    if parts.password is not None:
        address = urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{parts.netloc.rpartition('@')[2]}"))
    return address + question + "&".join(_mask_pair(pair) for pair in query.split("&"))


def _mask_pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}{equals}***" if unquote_plus(name) in {"username", "password"} else pair
