"""A rehearsal as somebody runs it: the command, its own stack and gateway, the report, the exit code.

Every verdict is reached by what it is for.  The bounds are far from what a machine's speed decides.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
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
    (lost,) = (check for check in result(tmp_path / "out")["checks"] if check["count"])
    assert (lost["name"], lost["count"]) == ("syncs: accepted means durable", 1)
    assert "not in Kafka" in lost["evidence"][0]


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
    assert not (tmp_path / "out").exists()


def test_somebody_elses_gateway_is_not_hurt(tmp_path: Path) -> None:
    for name, says in (("worker-massacre", "not ours"), ("fifty-fold", "made for it"), ("smoke", "want --tokens")):
        done = rehearse(name, "--url", "http://127.0.0.1:9", out=tmp_path)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
