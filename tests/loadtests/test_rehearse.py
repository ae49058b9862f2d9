"""A rehearsal as somebody runs it: the command, its own stack and gateway, the report, the exit code.

Every verdict is reached by what it is for.  The bounds are far from what a machine's speed decides.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import cpu
from loadtests.generator import LEAD_S
from tests.loadtests.frozen_server import ROOT, hundred, server

pytestmark = pytest.mark.timeout(400)

BRIEF = """
title = "brief"
why = "a few seconds of members' syncs"
seed = 3
seconds = 6.0
drain_s = 6.0
{more}
[gateway]
workers = 1
{gateway}
[[streams]]
name = "daily"
kind = "sync"
shape = [[6, {per_s}, {per_s}]]
members = 200
manners = {{ tries = 3 }}
[[slo]]
metric = "{metric}"
{bound}
"""


def brief(
    directory: Path, *, more: str = "", gateway: str = "", per_s: float = 20.0, metric: str = "syncs.delivered_share", bound: str = "at_least = 0.99"
) -> str:
    path = directory / "brief.toml"
    path.write_text(BRIEF.format(more=more, gateway=gateway, per_s=per_s, metric=metric, bound=bound), encoding="utf-8")
    return str(path)


def rehearse(*arguments: str, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtests.rehearse", *arguments, "--out", str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=380)


def result(out: Path) -> dict[str, Any]:
    (path,) = out.glob("*/result.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_smoke_passes_and_its_ledgers_agree(tmp_path: Path) -> None:
    done = rehearse("smoke", out=tmp_path)
    if done.returncode == 3:
        pytest.fail(f"the generator could not keep up with 50 arrivals a second, twice: {done.stderr}")
    assert done.returncode == 0, done.stderr
    found = result(tmp_path)
    ledger = {row["what"]: row for row in found["ledger"]}
    for topic in ("syncs", "sign-ups"):
        row = ledger[f"{topic} accepted"]
        assert row["generator"] == row["gateway"] == row["kafka"] > 100
    assert all(check["count"] == 0 for check in found["checks"])
    (report,) = tmp_path.glob("*/report.html")
    assert "PASS" in report.read_text()
    assert report.stat().st_size <= 400_000
    (junit,) = tmp_path.glob("*/junit.xml")
    suite = ET.parse(junit).getroot()
    assert not [*suite.iter("failure"), *suite.iter("error")]


def test_one_acknowledged_event_that_never_came_is_found(tmp_path: Path) -> None:
    done = rehearse(brief(tmp_path, gateway="loses_one = true"), out=tmp_path / "out")
    assert done.returncode == 4, done.stderr
    lost, counted = (check for check in result(tmp_path / "out")["checks"] if check["count"])
    assert (lost["name"], lost["count"]) == ("syncs: accepted means durable", 1)
    assert "not in Kafka" in lost["evidence"][0]
    assert (counted["name"], counted["count"]) == ("syncs: counted as durable means in Kafka", 1)


def test_a_bound_that_is_not_met_is_told(tmp_path: Path) -> None:
    done = rehearse(brief(tmp_path, metric="syncs.p99_ms", bound="at_most = 0.001"), out=tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "p99" in done.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metric": "syncs.p99_msec"}, "did you mean 'syncs.p99_ms'"),
        ({"more": "sedes = 4"}, "sedes"),
        ({"gateway": "settings = { room = { nmae = 'x' } }"}, "nmae"),
    ],
)
def test_what_is_misspelt_is_never_a_pass(change: dict[str, str], says: str, tmp_path: Path) -> None:
    done = rehearse(brief(tmp_path, **change), out=tmp_path / "out")  # type: ignore[arg-type]
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not [*tmp_path.glob("out/*")]


def test_a_gateway_that_is_not_there_is_told_before_anybody_is_sent(tmp_path: Path) -> None:
    done = rehearse(brief(tmp_path), "--url", "http://127.0.0.1:9", "--tokens", "/dev/null", out=tmp_path / "out")
    assert (done.returncode, "nobody answers at http://127.0.0.1:9" in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_that_cannot_be_written_is_told_before_anything_is_rehearsed(tmp_path: Path) -> None:
    path = brief(tmp_path)
    done = rehearse(path, out=Path(path))
    assert (done.returncode, "File exists" in done.stderr) == (2, True), done.stderr


def test_a_room_of_another_name_is_told(tmp_path: Path) -> None:
    with server() as url:
        done = rehearse("smoke", "--url", url, "--tokens", "/dev/null", "--room", "enrol", out=tmp_path / "out")
    assert (done.returncode, "no room called 'enrol'" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("settings", ["room = 'x'", "redis = { url = 'nowhere' }"])
def test_settings_that_no_gateway_starts_with_are_no_missed_bound(settings: str, tmp_path: Path) -> None:
    done = rehearse(brief(tmp_path, gateway=f"settings = {{ {settings} }}"), out=tmp_path / "out")
    assert done.returncode == 2, done.stderr


def test_somebody_elses_gateway_is_not_hurt(tmp_path: Path) -> None:
    for name, says in (("worker-massacre", "not ours"), ("fifty-fold", "made for it"), ("smoke", "want --tokens")):
        done = rehearse(name, "--url", "http://127.0.0.1:9", out=tmp_path)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr


# Is what it says of latency, and of itself, true?


@contextmanager
def rehearsing(directory: Path, url: str) -> Iterator[subprocess.Popen[str]]:
    """The hundred a second, against a server that is there."""
    directory.mkdir()
    (directory / "tokens").write_text("a.member.s\n")
    argv = [sys.executable, "-m", "loadtests.rehearse", str(hundred(directory)), "--url", url]
    argv += ["--tokens", str(directory / "tokens"), "--out", str(directory / "out")]
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def p95_ms(found: dict[str, Any], series: str) -> float:
    (curve,) = found["curves"]
    return float(curve[series][curve["percentiles"].index(95.0)])


def test_a_server_that_freezes_for_five_of_thirty_seconds_is_seen(tmp_path: Path) -> None:
    """What waits for its answers would have seen a few slow ones.  The control runs beside it, with the same arrivals to the byte."""
    with (
        server("--freeze-after", "10", "--freeze-s", "5") as freezes,
        server() as control,
        rehearsing(tmp_path / "freezes", freezes) as one,
        rehearsing(tmp_path / "control", control) as other,
    ):
        (_, said), (_, control_said) = one.communicate(timeout=380), other.communicate(timeout=380)
    assert (one.returncode, other.returncode) == (1, 0), said + control_said
    frozen, quick = result(tmp_path / "freezes" / "out"), result(tmp_path / "control" / "out")
    assert 3_000 <= p95_ms(frozen, "corrected_ms") <= 4_700
    assert p95_ms(quick, "corrected_ms") < 500
    assert frozen["meant_sha256"] == quick["meant_sha256"]
    assert not frozen["slo"][0]["is_met"]


def said_under(trouble: Callable[[int, threading.Event], None], process: subprocess.Popen[str]) -> str:
    """What it says until it ends, while somebody makes trouble: they are told its pid, and when to stop."""
    ended = threading.Event()
    making = threading.Thread(target=trouble, args=(process.pid, ended))
    making.start()
    try:
        _, said = process.communicate(timeout=380)
    finally:
        ended.set()
        making.join()
    return said


def tell_generators(parent: int, word: signal.Signals) -> None:
    """Locust's processes below this one; those that end meanwhile need no word."""
    for pid in cpu.tree(parent, cpu.parents()):
        if b"locustfile.py" in command_of(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, word)


def hold_back(parent: int, ended: threading.Event) -> None:
    """Half of the time its generators are stopped."""
    while not ended.wait(0.5):
        tell_generators(parent, signal.SIGSTOP)
        time.sleep(0.5)
        tell_generators(parent, signal.SIGCONT)


def test_a_generator_that_is_held_back_never_says_pass(tmp_path: Path) -> None:
    """Nor that the server was slow."""
    with server() as url, rehearsing(tmp_path / "held", url) as process:
        said = said_under(hold_back, process)
    assert process.returncode == 3, said
    assert "once more" in said
    found = result(tmp_path / "held" / "out")
    assert found["honesty"]["tries"] == 2
    assert found["honesty"]["problems"]


def test_a_gateway_that_dies_is_judged_all_the_same(tmp_path: Path) -> None:
    """Its supervisor is killed in the middle: no broken harness, no pass, and what was acknowledged until then is in Kafka."""
    path = brief(tmp_path, bound="at_least = 0.0")
    argv = [sys.executable, "-m", "loadtests.rehearse", path, "--out", str(tmp_path / "out")]
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        said = said_under(kill_gateway, process)
    assert process.returncode in (1, 3), said  # 3: this machine was too busy for an honest crowd, which is no pass either
    assert "The gateway did not answer at the end" in said
    assert all(check["count"] == 0 for check in result(tmp_path / "out")["checks"])


def kill_gateway(parent: int, ended: threading.Event) -> None:
    """Three seconds after the first arrival, which comes when Locust has been there for some; in a second try again."""
    killed = set()
    while not ended.wait(0.1):
        commands = {pid: command_of(pid) for pid in cpu.tree(parent, cpu.parents())}
        gateways = [pid for pid, command in commands.items() if b"gateway\0--config" in command and pid not in killed]
        if gateways and any(b"locustfile.py" in command for command in commands.values()):
            ended.wait(LEAD_S + 3.0)
            os.kill(gateways[0], signal.SIGKILL)
            killed.add(gateways[0])


def command_of(pid: int) -> bytes:
    """Empty where it has ended."""
    try:
        return (cpu.PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
