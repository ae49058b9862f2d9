"""A server that answers at once, or stands still for a while, and a hundred members a second to send to it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.servers import free_port

ROOT: Final = Path(__file__).parents[2]
_HUNDRED: Final = """
title = "a hundred a second"
why = "the generator's own examination"
seed = 1812
seconds = {seconds}
drain_s = 20.0
streams = [{{ name = "steps", kind = "sync", shape = [[{seconds}, 100.0, 100.0]] }}]
slo = [{{ metric = "syncs.p99_ms", at_most = 500.0 }}]
"""


def hundred(folder: Path, seconds: float = 30.0) -> Path:
    """The scenario's file."""
    path = folder / "hundred.toml"
    path.write_text(_HUNDRED.format(seconds=seconds))
    return path


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    """loadtests/crowd/frozen.py; its URL."""
    port = free_port()
    argv = [sys.executable, "-m", "loadtests.crowd.frozen", "--port", str(port), *arguments]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"READY\n"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
