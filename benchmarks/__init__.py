"""What one request costs: this gateway beside what one would write instead.

`python -m benchmarks.bench_path` (Linux only: it reads CPU clocks of other processes) measures
CPU per request, p50 and p99 of several servers ("arms") against one real Kafka and one real
Redis, in pairs: an arm and bare aiohttp, one right after the other, many times over.  Absolute
figures move by half between machines and hours; a ratio within a pair does not, so ratios are
what is printed first and what the targets speak of.

    bench_path   arguments, the run, the exit code
    plan         which arm is measured against which, in what order        (pure)
    measure      median with an interval, percentiles, the bottleneck rule  (pure)
    report       pairs of samples -> JSON, table, targets in words          (pure)
    traffic      the request bytes, the same for every arm                  (pure)
    response     the least HTTP parser a load generator needs               (pure)
    generator    the load generator's own process
    load         one interface over that process and over `wrk`
    servers      start, probe and stop an arm's process tree
    sut          how this gateway is started, from the work tree or from another commit
    cpu          CPU and run-queue time of a process tree
    machine      what machine this was, and who is pinned where
    peers/       what the gateway is compared with

    bench_take         one decision of the limiter beside three others', in takers/
    bench_limits       what a frozen Redis and one user who does not stop cost everybody else
    bench_overload     goodput under 1 to 50 times what can be served; with slow_gateway, overload_report, crowd, gauges
    bench_room         what a million people in the waiting room cost Redis
    bench_line         the room over sockets: a place's cost, the door under a crowd, its pace; with line_report, people, downstream
    bench_screen       the operators' screen: faults to lights, a thousand viewers, the depth's age, the lever; in screen/
    open_generator     a load generator whose arrivals do not wait for answers; arrivals: when they are due  (pure)
    simulate_overload  the candidates for the overload controller, in virtual time

The real Kafka and Redis are the devstack's.
"""
