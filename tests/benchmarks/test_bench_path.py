"""benchmarks/bench_path.py: the whole harness once, on the arm that needs nothing."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import bench_path
from benchmarks.command import EXIT_BROKEN, EXIT_GENERATOR
from benchmarks.sut import ROOT

TIMEOUT_S = 90


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as `make bench` does."""
    command = [sys.executable, "-m", "benchmarks.bench_path", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def test_a_quick_run_gives_a_table_and_json_of_one_shape(tmp_path: Path) -> None:
    """No figure is judged: this machine may be busy, and then it says so with exit 3."""
    out = tmp_path / "bench.json"
    done = bench("--quick", "--arms", "bare", "--generator", "asyncio", "--json", str(out))
    assert done.returncode in (0, EXIT_GENERATOR), done.stderr
    found = json.loads(out.read_text())
    assert set(found) == {
        *("machine", "settings", "arms", "ratios", "targets", "broken", "bottlenecks"),
    }
    assert found["settings"]["pairs"] == bench_path.QUICK_PAIRS
    assert found["arms"]["bare"]["rounds"] == 2 * bench_path.QUICK_PAIRS
    assert found["arms"]["bare"]["cpu_us_per_request"] > 0
    assert found["ratios"]["bare"]["reference"] == "bare"
    assert found["ratios"]["bare"]["count"] == bench_path.QUICK_PAIRS
    assert found["broken"] == found["targets"] == []
    assert {"cpu", "cores", "kernel", "python", "packages"} <= set(found["machine"])
    assert "requests/s" in done.stdout


def test_a_wrong_arm_is_said_in_one_line() -> None:
    """Exit 2, without a traceback."""
    done = bench("--arms", "bear")
    assert done.returncode == EXIT_BROKEN
    assert "unknown arms ['bear']" in done.stderr
    assert "Traceback" not in done.stderr
