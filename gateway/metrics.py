"""The catalogue of metrics: every name, its kind, unit, meaning and remedy.

Labels take their values from closed lists, so that the number of series is
known before the first request and each has its place on the board (`board.py`).
docs/metrics.md is checked against this table; a name that is used and not
listed here is a KeyError at start, not a surprise on the day.
"""

from itertools import product
from typing import Final, Literal, NamedTuple

from gateway.errors import PROBLEMS

Kind = Literal["counter", "gauge", "histogram"]

ROUTES: Final = ("syncs", "signups", "tickets", "place", "passes", "sign", "page", "notices", "receipts", "openapi", "problems", "none")
TOPICS: Final = ("syncs", "signups")
STATUSES: Final = tuple(str(s) for s in (200, 201, 202, 204, 303, 304, 400, 401, 403, 404, 405, 408, 411, 413, 415, 422, 429, 500, 503))
SECONDS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

DEPENDENCIES: Final = ("workers", "kafka", "redis", "room", "spool")

WAIT_BUCKETS: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 2_400.0, 4_800.0, 9_600.0)


class Metric(NamedTuple):
    """One family.  `labels` maps a label's name to its closed list of values."""

    name: str
    kind: Kind
    meaning: str
    remedy: str
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    buckets: tuple[float, ...] = ()
    is_supervisors: bool = False  # a gauge that the supervisor sets, and no worker

    def series(self) -> tuple[tuple[str, ...], ...]:
        """Every combination of label values, in a fixed order."""
        return tuple(product(*(values for _, values in self.labels)))


CATALOGUE: Final[tuple[Metric, ...]] = (
    Metric(
        "sluicegate_requests_total",
        "counter",
        "Requests answered, by route and status.",
        "Many 4xx of one status: an app release sends something wrong; look at refusals by code.",
        (("route", ROUTES), ("status", STATUSES)),
    ),
    Metric(
        "sluicegate_refusals_total",
        "counter",
        "Requests refused, by problem code.",
        "Look the code up in docs/api.md; `overloaded`: add workers; `not-durable`: look at Kafka.",
        (("code", tuple(PROBLEMS)),),
    ),
    Metric(
        "sluicegate_events_total",
        "counter",
        "Samples and sign-ups by what became of them.",
        "`spooled` grows: Kafka is slow or away, and this machine's disk holds them; `unknown`: neither took them in time; `refused`: the topic's limits are too small.",
        (("topic", TOPICS), ("outcome", ("durable", "spooled", "invalid", "duplicate", "refused", "withdrawn", "unknown", "limited", "shed"))),
    ),
    Metric(
        "sluicegate_ack_seconds",
        "histogram",
        "From an event's admission to delivery until Kafka acknowledged it.",
        "p99 grows while loop lag does not: Kafka is slow, look at its disks and in-sync copies.",
        (("topic", TOPICS),),
        SECONDS_BUCKETS,
    ),
    Metric(
        "sluicegate_body_bytes_total",
        "counter",
        "Bytes of request bodies read, as sent.",
        "None: for sizing.",
    ),
    Metric(
        "sluicegate_in_flight_bytes",
        "gauge",
        "Bytes held for requests between admission and answer, and for records not yet settled.",
        "Near deliver.in_flight_bytes_max: Kafka does not keep up, or raise the bound if memory allows.",
    ),
    Metric(
        "sluicegate_unacked_age_seconds",
        "gauge",
        "Age of the oldest batch that Kafka has not answered.",
        "Over deliver.stall_ms: requests are refused; look at Kafka.",
    ),
    Metric(
        "sluicegate_kafka_light",
        "gauge",
        "Kafka as this worker sees it: 0 grey (not asked yet), 1 green, 2 amber, 3 red.",
        "The reason stands in the body of /readyz.",
    ),
    Metric(
        "sluicegate_kafka_reason",
        "gauge",
        "Why the Kafka light is what it is: an index into core/light.py REASONS.",
        "Read /readyz instead.",
    ),
    Metric(
        "sluicegate_kafka_batches_total",
        "counter",
        "Batches by what Kafka answered; `late` ones were acknowledged after their requests had been answered.",
        "`late` grows: Kafka is slower than deliver.hedge_ms, or than deliver.timeout_ms where there is no spool.",
        (("result", ("acked", "late", "refused", "lost")),),
    ),
    Metric(
        "sluicegate_kafka_rebuilds_total",
        "counter",
        "Producers torn down and built anew.",
        "More than a few: read the log for the reason of each.",
    ),
    Metric(
        "sluicegate_spool_replayed_total",
        "counter",
        "Records sent to Kafka from the spool and acknowledged.",
        "None while it grows; records wait and it does not: Kafka is away, or a partition fails.",
    ),
    Metric(
        "sluicegate_spool_rejected_total",
        "counter",
        "Records that Kafka refused for good after their request had been answered 202 from the spool; kept in rejected/.",
        "The log has their event ids; the topic's limits are too small.",
    ),
    Metric(
        "sluicegate_spool_light",
        "gauge",
        "The spool as this worker sees it: 0 grey (not open, or switched off), 1 green, 2 amber, 3 red.",
        "The reason stands in the body of /readyz.",
    ),
    Metric(
        "sluicegate_spool_reason",
        "gauge",
        "Why the spool's light is what it is: an index into core/light.py REASONS.",
        "Read /readyz instead.",
    ),
    Metric(
        "sluicegate_spool_bytes",
        "gauge",
        "What this worker's spool takes of the disk.",
        "Grows: Kafka takes less than comes; bring it back before sluicegate_spool_max_bytes is reached.",
    ),
    Metric(
        "sluicegate_spool_waiting_bytes",
        "gauge",
        "Of sluicegate_spool_bytes, about what the records take that wait: seven tenths of sluicegate_spool_max_bytes, and the door is cut.",
        "Far less than sluicegate_spool_bytes: a partition that Kafka does not take keeps a few records in each segment, and with them the segments.",
    ),
    Metric(
        "sluicegate_spool_max_bytes",
        "gauge",
        "spool.bytes_max, what it may take; 0 where there is no spool.",
        "More only where the disk has it, for each worker of the machine.",
    ),
    Metric(
        "sluicegate_spool_records",
        "gauge",
        "Records that wait in this worker's spool for Kafka.",
        "Stands still while Kafka is green: a partition fails, the log names it.",
    ),
    Metric(
        "sluicegate_spool_aside_records",
        "gauge",
        "Records that stay in the spool and are not replayed: Kafka refuses them for good and rejected/ has no room, or they cannot be read.",
        "Not 0: SluicegateSpoolAside in docs/operations.md says what to do with them; the next start tries them again.",
    ),
    Metric(
        "sluicegate_spool_damaged_segments",
        "gauge",
        "Files of the spool in which something was found that cannot be read, and that are kept: looked for at each start.",
        "Not 0: what they held was acknowledged; SluicegateSpoolAside in docs/operations.md says what to do with them.",
    ),
    Metric(
        "sluicegate_spool_rejected_bytes",
        "gauge",
        "What lies in rejected/: records that Kafka refused for good after their 202. Looked for at each start.",
        "Not 0: SluicegateSpoolAside in docs/operations.md says how to give them back, or where to put them.",
    ),
    Metric(
        "sluicegate_spool_oldest_seconds",
        "gauge",
        "How long ago the oldest record that waits in this worker's spool was received; 0 where none waits.",
        "Grows while the others go: its partition fails, the log names it.",
    ),
    Metric(
        "sluicegate_spool_frames_total",
        "counter",
        "Frames written to the spool, one a partition and commit: `synced`, or `failed` with the disk.",
        "`failed` grows: the disk is full, read-only or broken; requests were not answered from it.",
        (("result", ("synced", "failed")),),
    ),
    Metric(
        "sluicegate_spool_set_aside_total",
        "counter",
        "Frames found in the spool that cannot be read; each may have held several records, and each start counts them again.",
        "Look at the disk; the log names the directory. What they held was acknowledged: keep the directory.",
    ),
    Metric(
        "sluicegate_tokens_total",
        "counter",
        "Bearer tokens looked at: found in the cache, verified, or refused.",
        "Few `cached`: raise identity.cache_max, or phones use a fresh token each time.",
        (("result", ("cached", "verified", "refused")),),
    ),
    Metric(
        "sluicegate_limits_total",
        "counter",
        "Requests (for `samples`: samples) by what their quota said: admitted, refused by which limit, given back, or what a shadow policy would have said.",
        "`address`: a carrier behind one address? raise that rule; `global`, `route`: more than was planned for; `away`: Redis is, and on_error is closed.",
        (
            ("charge", ("syncs", "signups", "samples", "joins")),
            ("result", ("admitted", "global", "route", "address", "user", "pass", "newcomers", "away", "refunded", "shadow_admitted", "shadow_refused")),
        ),
    ),
    Metric(
        "sluicegate_limiter_answers_total",
        "counter",
        "Decisions by where they came from: Redis, a remembered refusal, or without Redis by on_error.",
        "`local`, `open` or `closed` grow: Redis is slow or away, see sluicegate_limiter_degraded; exactness is lost, bounds: ratelimit/limiter.py.",
        (("source", ("store", "memory", "local", "open", "closed")),),
    ),
    Metric(
        "sluicegate_limiter_calls_total",
        "counter",
        "Script calls to Redis by how they ended; one carries the decisions of a tick. `late`: answered when nobody waited any more.",
        "`late` or `failed` grow: look at Redis' latency and log; raise limits.decide_timeout_ms only for a slow network.",
        (("result", ("answered", "late", "failed")),),
    ),
    Metric(
        "sluicegate_limiter_alone_tokens_total",
        "counter",
        "Tokens granted without Redis, by on_error `local` or `open`: of all policies together no more than so many were admitted beyond their limits.",
        "More than what is behind can take: make Redis quicker, or on_error `closed` for what must not be exceeded.",
    ),
    Metric(
        "sluicegate_limiter_lost_total",
        "counter",
        "What did not reach Redis: asks that found the line full, refunds while it was away, beats by which workers count each other.",
        "`full`: Redis decides less than one worker asks, look at its CPU; `refunds`: who was refunded waits a little longer; `beats`: Redis is away.",
        (("what", ("full", "refunds", "beats")),),
    ),
    Metric(
        "sluicegate_redis_reason",
        "gauge",
        "What this worker sees of Redis: an index into core/light.py REASONS.",
        "Read /readyz instead.",
    ),
    Metric(
        "sluicegate_limiter_degraded",
        "gauge",
        "1 while this worker decides without Redis.",
        "See that Redis answers within limits.decide_timeout_ms.",
    ),
    Metric(
        "sluicegate_limiter_degraded_seconds_total",
        "counter",
        "Whole seconds in which this worker decided without Redis.",
        "More than a few: Redis is too slow or too far away.",
    ),
    Metric(
        "sluicegate_limiter_workers",
        "gauge",
        "Workers that share these buckets, as Redis last said; each has so large a share while Redis is away.",
        "Fewer than there are: a worker does not reach Redis.",
    ),
    Metric(
        "sluicegate_overload_limit",
        "gauge",
        "Requests this worker takes at once, as learned from acknowledgements and loop lag.",
        "At its floor: Kafka or the core is slow; the refused are counted as `overloaded`.",
    ),
    Metric(
        "sluicegate_overload_in_flight",
        "gauge",
        "Requests admitted and not yet answered.",
        "Near sluicegate_overload_limit: less important requests are being refused.",
    ),
    Metric(
        "sluicegate_room_joins_total",
        "counter",
        "Joins by what came of them: a new place, one they had, a provisional ticket because the store was away, or none because the line was full or the room closed.",
        "`provisional`: look at the room's Redis; `full`: raise room.line_max, or say on the page when to come; `closed`: say there when it opens.",
        (("result", ("new", "known", "provisional", "full", "closed")),),
    ),
    Metric(
        "sluicegate_room_looks_total",
        "counter",
        "Questions for one's place, answered from memory.",
        "Far more than waiting / poll_after_s: a client does not obey; the address limits of the proxy in front help.",
    ),
    Metric(
        "sluicegate_room_knocks_total",
        "counter",
        "Knocks: passes given at their turn, given again, given alone while the store was away; told `early` from memory, `refused` by the door, `repeated` while held, "
        "`ended` by a pause or a slower rate, `late` because this worker overslept the turn.",
        "`late` grows: workers stall, look at loop lag; `refused` above a fifth of `given`: phones knock before they are called.",
        (("result", ("given", "again", "alone", "early", "refused", "repeated", "ended", "late")),),
    ),
    Metric(
        "sluicegate_room_ticks_total",
        "counter",
        "Ticks of this worker by what the store said.",
        "`failed` grows: the room's Redis is away; places are told from memory and the door runs at its share.",
        (("result", ("done", "failed")),),
    ),
    Metric(
        "sluicegate_room_away_seconds_total",
        "counter",
        "Seconds in which the line's store did not answer this worker.",
        "Look at the room's Redis.",
    ),
    Metric(
        "sluicegate_room_away",
        "gauge",
        "1 while the line's store does not answer this worker: then the supervisor's gauges of the room are of before.",
        "Look at the room's Redis.",
    ),
    Metric(
        "sluicegate_room_held",
        "gauge",
        "Answers held until their turn at the door.",
        "Near room.held_max: raise it; normal is the rate times 1 to 2.5 s.",
    ),
    Metric(
        "sluicegate_room_wait_seconds",
        "histogram",
        "From joining to the pass, of those this worker let in after a line.",
        "The oldest waits are in the last buckets: people who slept stand in front again, and are no fault.",
        (),
        WAIT_BUCKETS,
    ),
    Metric(
        "sluicegate_room_estimate_error_seconds",
        "histogram",
        "How far the first estimate (p50) was from the wait, of a sixteenth of the people.",
        "Large against the wait: the rate was changed meanwhile, or people leave otherwise than before.",
        (),
        WAIT_BUCKETS,
    ),
    Metric(
        "sluicegate_room_rate_per_second",
        "gauge",
        "People a second whom the door lets in; while paused or closed, what it goes on with.",
        "Not what you expect: sluicegate_room_reason, or `sluicegate room show`, says why.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_room_reason",
        "gauge",
        "Why the door has this rate: 0 paused, 1 told, 2 acks-stopped, 3 overload, 4 lag-unknown, 5 climbing, 6 floor, 7 ceiling, 8 consumption, 9 closed, 10 spool-filling.",
        "2 and 10: look at Kafka; 3: add workers; 4: is room.consumer_group right, and does it commit?  6: downstream takes less than room.floor_per_s.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_room_depth",
        "gauge",
        "People who are in line now.",
        "Grows for long: tell people when to come (`sluicegate room set --message`), or let downstream take more.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_room_lobby",
        "gauge",
        "People who are called and may knock.",
        "Far above three seconds of the rate: many came back at once; it goes by itself.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_room_leaving_per_second",
        "gauge",
        "People who give up, each second, as the last minutes showed.",
        "High: the wait is longer than people bear; say so with a message, or let downstream take more.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_room_passes",
        "gauge",
        "People let through since the line was opened, by all machines.",
        "Stands still while people wait and the door is neither paused nor closed: look at the lights of room and Kafka.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_room_waiting_oldest_seconds",
        "gauge",
        "How long who is called next has been in line; NaN while that is not known.",
        "Far above sluicegate_room_estimate_seconds: the door was slower than it is; say so with a message.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_room_estimate_seconds",
        "gauge",
        "The wait that who joins now is told: p50, as half of them will find it; p90, if nobody gives up.",
        "Grows: more people join than the door lets in.",
        (("estimate", ("p50", "p90")),),
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_room_consumer_lag",
        "gauge",
        "Sign-ups in Kafka that room.consumer_group has not committed; NaN while that is not known.",
        "Far above room.lag_target while the rate is at its floor: downstream takes less than that; NaN: see the log.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_room_pace_changes_total",
        "counter",
        "Changes of the door's rate or its reason that this machine made.",
        "One a second for minutes: what downstream takes swings; look at the consumers.",
    ),
    Metric(
        "sluicegate_overload_refused_total",
        "counter",
        "Refused to keep the others fast: requests by class, and samples of days gone by.",
        "Grows: more comes than downstream takes; `signups` should stay 0 while `syncs` grows.",
        (("class", ("signups", "joins", "syncs", "backfill")),),
    ),
    Metric(
        "sluicegate_connections",
        "gauge",
        "Open connections on the public port.",
        "Near http.connections_max: raise it, or see who holds them.",
    ),
    Metric(
        "sluicegate_connections_total",
        "counter",
        "Connections accepted, and those closed at once because a cap was reached.",
        "`over_address`: one address holds too many; is it a proxy missing from http.trusted_proxies?",
        (("result", ("accepted", "over_total", "over_address")),),
    ),
    Metric(
        "sluicegate_loop_lag_seconds",
        "gauge",
        "How late the event loop ran its last half-second timer.",
        "Over 0.05: the worker's core is full; add workers or machines.",
    ),
    Metric(
        "sluicegate_heartbeat_seconds",
        "gauge",
        "The worker's monotonic clock at its last heartbeat.",
        "Stands still: the worker hangs; the supervisor replaces it after process.wedged_s.",
    ),
    Metric(
        "sluicegate_worker_state",
        "gauge",
        "0 not running, 1 starting, 2 serving, 3 draining.",
        "None: /readyz sums it up.",
    ),
    Metric(
        "sluicegate_worker_cpu_ratio",
        "gauge",
        "Share of one core that this worker used since its last beat.",
        "Near 1: its core is full; add workers or machines.",
    ),
    Metric(
        "sluicegate_worker_memory_bytes",
        "gauge",
        "Memory this worker holds (resident).",
        "Grows for hours under even load: a leak is a bug; a rolling restart loses nothing.",
    ),
    Metric(
        "sluicegate_worker_starts_total",
        "counter",
        "Workers started by the supervisor, first starts included.",
        "Grows by itself: a worker keeps dying; read the log above each start.",
    ),
    Metric(
        "sluicegate_audit_lines_total",
        "counter",
        "Lines of the loss audit: posted to Kafka, refused by it for good, or dropped because too many wait.",
        "`refused` or `dropped`: the minutes in them are not audited; look at the log for why Kafka does not take lines.",
        (("result", ("posted", "refused", "dropped")),),
    ),
    Metric(
        "sluicegate_audit_lines_waiting",
        "gauge",
        "Lines of the loss audit that Kafka has not acknowledged.",
        "More than the workers for minutes: Kafka is away, or deliver.audit_topic does not exist; they are kept on disk meanwhile.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_audit_uncounted_total",
        "counter",
        "Events that were acknowledged and not counted for the loss audit: no sheet was free. Seen when their minute is over.",
        "Grows: the supervisor stood still for minutes, or a worker was killed again and again; these minutes are not audited.",
    ),
    Metric(
        "sluicegate_supervisor_cpu_ratio",
        "gauge",
        "Share of one core that the supervisor used in the last second.",
        "Above 0.3: too many viewers of the screen, see sluicegate_viewers, or scrapes too often.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_supervisor_memory_bytes",
        "gauge",
        "Memory the supervisor holds (resident).",
        "Grows for hours: a leak is a bug.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_light",
        "gauge",
        "A dependency as the screen shows it: 0 grey (not asked, or not there), 1 green, 2 amber, 3 red.",
        "/readyz and the screen say the reason; docs/operations.md says what to do.",
        (("dependency", DEPENDENCIES),),
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_probe_seconds",
        "gauge",
        "How long the supervisor's last probe of a dependency took; NaN where none was answered.",
        "Near a second: the dependency or the network to it is slow.",
        (("dependency", ("kafka", "redis")),),
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_viewers",
        "gauge",
        "Open streams of the operators' screen.",
        "None: for sizing; the most there may be is in ops/stream.py.",
        is_supervisors=True,
    ),
    Metric(
        "sluicegate_viewers_dropped_total",
        "counter",
        "Streams of the screen that were ended by us: a reader too slow, or one too many.",
        "`full`: a page left open a thousand times; `slow`: a bad network, it connects again by itself.",
        (("why", ("slow", "full")),),
    ),
    Metric(
        "sluicegate_operator_acts_total",
        "counter",
        "What operators asked of the room: applied, kept on disk until the store is back, or refused.",
        "`refused` by nobody you know: see who reaches the operators' port; the log has the addresses.",
        (("result", ("applied", "kept", "refused")),),
    ),
)

BY_NAME: Final = {metric.name: metric for metric in CATALOGUE}
