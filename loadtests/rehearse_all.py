"""Play every scenario but the soak; each has to end as it expects.  Arguments are passed on to each rehearsal.

Exit codes: 0 all did; 1 one did not; what each did stands in the last lines.
"""

import subprocess
import sys
import time
from typing import Final

from benchmarks.command import say
from loadtests.judge import slo
from loadtests.result import Verdict
from loadtests.scenario_file import SCENARIOS, load

LONG: Final = frozenset({"soak"})
EXPECTED: Final = {"pass": Verdict.PASS, "missed": Verdict.MISSED}


def main() -> int:
    """One after the other: they share the machine."""
    lines, is_as_expected = [], True
    for name in sorted(path.stem for path in SCENARIOS.glob("*.toml")):
        if name in LONG:
            continue
        expected = EXPECTED[load(name, slo.METRICS).expect]
        began_s = time.monotonic()
        code = subprocess.run([sys.executable, "-m", "loadtests.rehearse", name, *sys.argv[1:]], check=False).returncode  # noqa: S603 - our own module
        got = Verdict(code).name if code in set(Verdict) else f"exit code {code}"
        is_as_expected &= code == expected
        lines.append(f"{name:18} {got:10} {'as expected' if code == expected else f'wanted {expected.name}':16} {time.monotonic() - began_s:5.0f} s")
    for line in lines:
        say(line)
    return 0 if is_as_expected else 1


if __name__ == "__main__":
    sys.exit(main())
