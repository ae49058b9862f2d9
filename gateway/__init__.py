"""Sluicegate: the front door of a city health app.

One request, in the order of the files that carry it:

    phone ──HTTP──▶ accept ─▶ admit ─▶ check ─▶ deliver ──acks=all──▶ Kafka

    accept    the connection and its deadlines, the route, the answer
    admit     may this one pass now?  decided before its body is read:
              how much at once and who first (core/overload), then quotas (limits ─▶ ratelimit/ ─▶ Redis)
    check     bytes → events, or the pointers of what is wrong with them
    deliver   events → durable, or an honest "unknown" within its deadline; what Kafka does not take in time is copied
              to the spool (copies ─▶ spool/store) and answered from there

What Kafka does not acknowledge waits on this machine's disk:

    deliver ─▶ spool/: disk_spool ─▶ commits, replay ─▶ segments ─▶ disk

    spool/books, core/backlog: what waits, and where it stands; core/record: the bytes; spool/strays: for partitions that are gone

Whoever was answered may ask what has become of it, any worker of any machine:

    deliver ─▶ whereabouts (core/kept: the receipt) ◀── watermarks, on the board ◀── each worker's spool, ops/fleet

What was acknowledged is counted, so that a loss can be proved, or that there is none:

    deliver ─▶ audit/: sheets, on the board ─▶ lines ─▶ auditor, with files, in the supervisor ──audit.v1──▶ Kafka ─▶ command

Sign-ups may have to go through a line first:

    phone ──HTTP──▶ rooms (browser: the page) ─▶ room ─▶ redis_room, lua/ ──▶ Redis

    rooms     join, place, pass and the sign in HTTP; whose pass a sign-up comes with
    room      one worker's side: its last sign, who was seen, whose answer is held until its turn
    lua/      the line itself: core/waiting is its law, held equal by a random test on a real server
    pacer     in the supervisor: how fast the door lets people in, by what downstream consumes (lag), and
              what the operator says (ops/rooms)

Operators look on, from the supervisor and at no worker's cost:

    board, pacer, probes ─▶ ops/readings ─▶ ops/status ─▶ ops/frame ─▶ ops/stream ──▶ every viewer, once a second

    ops/screen   when; and from the same frame the history, the log of changes, /readyz's lights and /metrics' gauges
    ops/access   who may look, who may act

Everything that can be decided without the world is a pure function in `core/`:
no await, no clock, no random, no I/O.

The import rule (tests/test_architecture.py holds it):

    __main__ → supervisor, worker → accept → browser → rooms → body, admit, check, deliver, room → core → stdlib, msgspec
    leaves anyone may use, which import none but each other: errors, clock, metrics, logs
    one library, one door:  aiohttp in accept, body, connection, listening, parser, reply, supervisor and ops/;
    the Kafka client in kafka, lag, probes and audit/stored; prometheus_client in ops/; PyJWT in identity.
    Quotas are decided in ratelimit/, a library that knows nothing of the gateway; Redis is behind it.
    Only config reads the environment, only clock reads the clock.

Glossary

    member    a person with a verified token; `sub` is the user id and the Kafka key
    sample    one line of a sync: the step total of a day from a source, as of an instant
    event     a valid sample or sign-up with its id; what becomes one Kafka record
    record    the bytes of an event as Kafka stores them: key, value, headers, timestamp
    lane      one partition's queue and its one batch in flight; it flows, or it spools: then the replay is its only sender
    copy      records appended to the spool, on their way to the disk or there
    replay    what sends a lane's records from the spool, in order, each marked as such
    delivery  one request's records on their way, until every one has an outcome
    outcome   durable | spooled | refused (by Kafka, for good) | withdrawn | unknown | limited | shed
    refusal   an answer that is not 2xx: a problem with a code, never a bare status
    board     the counters all processes share (an inherited memfd)
    light     one dependency's state for an operator: green, amber, red or grey
    policy    token buckets that pass a request all or none; shadow: measured and never enforced
    place     a number in the line, given once; a ticket says it, a pass says that it may sign up
    sign      what every worker knows of the line: one value a tick, from which places are told
    gate      places below it may knock; the lobby is who is called and there
    shut      a door that lets nobody in: paused, where who joins still gets a place, or closed, where nobody new does
    turn      a point on the door's clock, which counts people and not seconds
    pace      the door's rate and the reason for it
    rank      how important a request is when more comes than can be taken: sign-ups before syncs
    probe     a question of the supervisor to a dependency, once a second
    frame     everything the operators' screen shows of one instant
    spool     what waits on disk for Kafka; one directory a worker
    segment   one of its files; a frame is one partition's share of a commit, which is one write and one sync
    sequence  the number of a record in its directory: it grows, and is never given twice
    settled   in Kafka, or nobody's any more: not to be replayed; below a spool's watermark everything is
    sheet     where a worker counts what it acknowledged in a minute; it becomes a line of the audit, in a topic of its own
    receipt   what a 202 carries: where its records are kept, by partition and offsets or by spool id and sequence, signed
    drain     SIGTERM until exit: serve on, stop accepting, finish, flush
"""
