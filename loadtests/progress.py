"""What a rehearsal says while it runs: one line that is written over on a terminal, one every ten seconds elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.command import say
from loadtests.scenario import Scenario

_WIDTH: Final = 24
_EVERY_S: Final = 10.0


class Bar:
    """Live figures."""

    def __init__(self, scenario: Scenario) -> None:
        self._name = scenario.name
        self._seconds, self._end_s = scenario.seconds, scenario.seconds + scenario.drain_s
        self._is_terminal = sys.stderr.isatty()
        self._said_s = 0.0

    def tell(self, progress: Mapping[str, Any]) -> None:
        """One more second."""
        if self._is_terminal:
            sys.stderr.write("\r\x1b[2K" + self.line(progress))
            sys.stderr.flush()
        elif time.monotonic() - self._said_s >= _EVERY_S:
            self._said_s = time.monotonic()
            say(self.line(progress))

    def line(self, progress: Mapping[str, Any]) -> str:
        """Such as `dec18 [######······]  61/300 s  sent 2,011  waiting 1,204  accepted 640  refused 12  late p99 3 ms`."""
        at_s = max(float(progress.get("at_s", 0.0)), 0.0)
        done = round(_WIDTH * min(at_s / self._end_s, 1.0))
        figures = "  ".join(f"{name} {progress[name]:,}" for name in ("sent", "waiting", "accepted", "refused") if name in progress)
        part = "" if at_s < self._seconds else " (no more arrivals)"
        return f"{self._name} [{'#' * done}{'·' * (_WIDTH - done)}] {at_s:4.0f}/{self._end_s:.0f} s{part}  {figures}  late p99 {progress.get('late_p99_ms', 0):.0f} ms"

    def end(self) -> None:
        """Leave the line."""
        if self._is_terminal:
            sys.stderr.write("\n")
