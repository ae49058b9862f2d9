"""Open arrivals for stock Locust: one User in each process schedules them (firing.py); this file only wires.

    locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8080 --scenario smoke --run 1 --record DIR
           (--secret-file FILE | --tokens FILE) [--begin-at EPOCH_S] [--processes N]

Users, spawn rates and run times of Locust's own mean nothing here: the scenario says who comes when.  Each process leaves
DIR/<its number>/ (recording.py); each second one line {"progress": {...}} goes to stdout; Locust's own statistics are fed
too, with corrected latencies.  Exit code 0: all is recorded, whatever was answered; 2: it was told something impossible.

Importing this file patches the standard library (gevent): no test imports it.
"""

import json
import secrets
import socket
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Final

import gevent
import locust.runners
from locust import LoadTestShape, User, constant, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from loadtests.crowd import shapes, tethered
from loadtests.crowd.firing import Firing, Plan, Progress, together
from loadtests.crowd.payloads import Tokens, tokens
from loadtests.crowd.sender import Answer
from loadtests.recording import Call
from loadtests.scenario import Scenario, ScenarioError
from loadtests.scenario_file import load

LEAD_S: Final = 2.0  # from the test's start to the first arrival, where nobody names an instant
REPORT_S: Final = 1.0
# Heartbeats of a process that is stopped for a while; Locust's own three seconds would end the rehearsal.
LIVENESS: Final = 60
LATE_S: Final = 90.0  # beyond the scenario's end: an instant named for the beginning, the last answers, and writing it all down
_PATHS: Final = {
    Call.SYNCS: ("POST", "/v1/syncs"),
    Call.SIGNUPS: ("POST", "/v1/signups"),
    Call.TICKETS: ("POST", "/v1/rooms/{room}/tickets"),
    Call.PLACE: ("GET", "/v1/rooms/{room}/place"),
    Call.PASSES: ("POST", "/v1/rooms/{room}/passes"),
}

locust.runners.WORKER_REPORT_INTERVAL = REPORT_S
locust.runners.HEARTBEAT_LIVENESS = LIVENESS
tethered.when_forked()  # --processes: Locust forks them after reading this file


class Here:
    """One process's part; Locust makes its User and Shape itself, so what they share stands here."""

    scenario: Scenario
    arrivals: Any
    firing: Firing | None = None
    reports: dict[str, Progress] = {}  # noqa: RUF012 - of the workers, in the master
    finished: set[str] = set()  # noqa: RUF012


@events.init_command_line_parser.add_listener
def add_arguments(parser: ArgumentParser) -> None:
    """What Locust itself does not ask for.  Plain values: the master sends them to its workers as msgpack."""
    parser.add_argument("--scenario", help="the name of one of loadtests/scenarios, or a .toml file")
    parser.add_argument("--run", type=int, default=secrets.randbits(32), help="32 bits that name this rehearsal in its payloads' ids")
    parser.add_argument("--record", help="the directory in which each process leaves what it saw")
    parser.add_argument("--secret-file", help="JSON: key (HS256, base64url), kid, issuer, audience; signs members' tokens")
    parser.add_argument("--tokens", help="or members' tokens, one a line")
    parser.add_argument("--begin-at", type=float, default=0.0, help="second 0 of the rehearsal, of the epoch (default: in two seconds)")
    if any(argument.startswith("--processes") for argument in sys.argv):
        # One machine: a port of our own, so that two rehearsals do not meet.  The processes are forked after this.
        port = _free_port()
        parser.set_defaults(master_bind_port=port, master_port=port, master_bind_host="127.0.0.1", master_host="127.0.0.1")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@events.init.add_listener
def prepare(environment: Environment, **_others: object) -> None:
    """Read the scenario before the test starts, so that nothing of it is left to do when people come."""
    options, runner = environment.parsed_options, environment.runner
    assert options is not None
    try:
        if not options.scenario or not options.record or not environment.host:
            raise ScenarioError("want --scenario, --record and --host")
        Here.scenario = load(options.scenario, None)
        Here.arrivals = shapes.meant(Here.scenario)
        _tokens(options, time.time())
    except (ScenarioError, OSError, ValueError) as error:
        sys.stderr.write(f"locustfile: {error}\n")
        sys.exit(2)
    environment.process_exit_code = 0  # refusals are what is rehearsed: others judge
    if isinstance(runner, MasterRunner):
        runner.register_message("finished", lambda environment, msg: Here.finished.add(msg.node_id))  # noqa: ARG005 - Locust names them
    if not isinstance(runner, WorkerRunner):
        gevent.spawn(_tell)


def _tokens(options: Namespace, now_s: float) -> Tokens:
    secret_file, tokens_file = (Path(name) if name else None for name in (options.secret_file, options.tokens))
    return tokens(secret_file, tokens_file, int(now_s))


@events.test_start.add_listener
def begin(environment: Environment, **_others: object) -> None:
    """Agree on second 0: the master's options go to the workers with the order to start."""
    options = environment.parsed_options
    assert options is not None
    if not isinstance(environment.runner, WorkerRunner):
        options.begin_at = options.begin_at or time.time() + LEAD_S


@events.report_to_master.add_listener
def report(client_id: str, data: dict[str, Any]) -> None:
    """A worker's figures."""
    del client_id
    if Here.firing is not None:
        data["rehearsal"] = Here.firing.progress


@events.worker_report.add_listener
def reported(client_id: str, data: dict[str, Any]) -> None:
    """The same, in the master."""
    if "rehearsal" in data:
        Here.reports[client_id] = data["rehearsal"]


def _tell() -> None:
    """The live figures, as a line a second."""
    while True:
        gevent.sleep(REPORT_S)
        parts = [Here.firing.progress] if Here.firing is not None else list(Here.reports.values())
        if parts:
            sys.stdout.write(json.dumps({"progress": together(parts)}) + "\n")
            sys.stdout.flush()


class OneInEach(LoadTestShape):
    """As many Users as processes; at the end none."""

    def tick(self) -> tuple[int, float] | None:
        """Until all have finished."""
        count = _processes(self.runner)
        assert self.runner is not None
        if time.perf_counter() - self.start_time > Here.scenario.seconds + Here.scenario.drain_s + LATE_S:
            sys.stderr.write(f"locustfile: {count - len(Here.finished)} of {count} processes do not end\n")
            self.runner.environment.process_exit_code = 2
            return None
        return None if len(Here.finished) >= count else (count, float(count))


def _processes(runner: Any) -> int:
    return 1 if isinstance(runner, LocalRunner) else int(runner.environment.parsed_options.processes or runner.environment.parsed_options.expect_workers)


class Scheduler(User):
    """The one User of a process."""

    wait_time = constant(0)

    @task
    def rehearse(self) -> None:
        """All this process's arrivals; then it has nothing more to do."""
        options, runner = self.environment.parsed_options, self.environment.runner
        assert options is not None
        assert isinstance(runner, LocalRunner | WorkerRunner)
        assert self.host is not None
        if Here.firing is not None:
            raise StopUser
        signs = _tokens(options, options.begin_at)
        plan = Plan(Here.scenario, Here.arrivals, runner.worker_index, _processes(runner), options.run, options.begin_at, self.host, signs)
        Here.firing = Firing(plan)
        Here.firing.crowd.on_call = self._told
        Here.firing.run()
        Here.firing.leave(Path(options.record))
        if isinstance(runner, WorkerRunner):
            runner.send_message("finished")
        else:
            Here.finished.add("local")
        raise StopUser

    def _told(self, call: Call, answer: Answer, due_s: float) -> None:
        method, name = _PATHS[call]
        failed = None if 0 < answer.status < 400 else f"status {answer.status}"
        latency_ms = (answer.done_s - due_s) * 1000
        self.environment.events.request.fire(
            request_type=method, name=name, response_time=latency_ms, response_length=len(answer.body), exception=failed, context={}
        )
