"""Kafka's jars, fetched once by jgo and checked against jars.sha256.

Run as a file, by path:  python -P jars.py     (-P: our folder holds a kafka.py, and what
jgo imports must not find it).  A process of its own, because resolving is ten seconds of
pure Python, and because it can then be stopped in the middle: it ends when its stdin does.

    stdout   "say TEXT"   progress, for a person
             "jar PATH"   one jar of the class path

What jgo does not do, found by reading it (3.2): it takes a folder with one jar for a
complete environment, a half-written file in ~/.m2 for an artifact, and only warns of a
wrong checksum.  An interrupted download would so be broken for ever.  Hence our list of
sha256, and one second attempt that trusts no cache.

To change the version: edit ENDPOINT, run `python -P devstack/jars.py --pin`, read the diff.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import jgo
from jgo.config import GlobalSettings
from jgo.maven import PythonResolver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# kafka-clients must be named: beside log4j the resolver otherwise picks 3.8.0, and the
# broker dies with NoSuchMethodError ... CompressionType.defaultLevel.
ENDPOINT = "+".join(  # noqa: FLY002 (one coordinate a line)
    (
        "org.apache.kafka:kafka_2.13:4.1.1",
        "org.apache.kafka:kafka-clients:4.1.1",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
        "org.apache.logging.log4j:log4j-core:2.24.3",
    )
)
PINS = Path(__file__).with_name("jars.sha256")
_SAY_EVERY_S = 2.0


def main(arguments: list[str]) -> int:
    """Print the class path, fetching it first if need be; exit 1 with a last "say" if not."""
    if "--pin" not in arguments:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    cache = Path(GlobalSettings.load().cache_dir)
    cache.mkdir(parents=True, exist_ok=True)
    # Two stacks starting together: one downloads, the other waits and finds it done.
    with (cache / "devstack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if "--pin" in arguments:
            PINS.write_text(_listing(_build()))
            return 0
        try:
            jars = _fetch(cache)
        except Exception as error:  # noqa: BLE001 (jgo documents none; all end alike)
            _tell("say", _in_one_line(error))
            return 1
    for jar in jars:
        _tell("jar", str(jar))
    return 0


def _fetch(cache: Path) -> list[Path]:
    began_s = time.monotonic()
    try:
        jars = _build()
    except Exception as error:  # noqa: BLE001 (a truncated file may break jgo anywhere)
        _tell("say", f"jgo failed: {_in_one_line(error)}")
    else:
        if _listing(jars) == PINS.read_text():
            _say_if_slow(jars, began_s)
            return jars
        _tell("say", "the cached jars are not whole")
    _tell("say", "fetching all jars afresh, into an empty repository")
    # Inside the cache, so that jgo can hard-link out of it: a symbolic link would dangle.
    with tempfile.TemporaryDirectory(dir=cache) as empty_repository:
        os.environ["M2_REPO"] = empty_repository
        jars = _build(update=True)
    if _listing(jars) != PINS.read_text():
        raise RuntimeError(f"the jars are not those of {PINS}; compare {jars[0].parents[1]}")
    _say_if_slow(jars, began_s)
    return jars


def _build(*, update: bool = False) -> list[Path]:
    resolver = PythonResolver(progress_callback=_Progress())
    environment = jgo.build(ENDPOINT, update=update, resolver=resolver)
    # The jars lie in two folders, jars/ and modules/: all of them belong on the class path.
    return sorted(environment.all_jars, key=lambda jar: jar.name)


def _listing(jars: list[Path]) -> str:
    """List the jars in the format of sha256sum; 44 MB take 0.05 s."""
    return "".join(f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in jars)


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


class _Progress:
    """At most a line every two seconds while bytes arrive; its calls are jgo's callback."""

    def __init__(self) -> None:
        self._received = 0
        self._said_mb = 0
        self._said_s = 0.0

    @contextlib.contextmanager
    def __call__(self, filename: str, total: int) -> Iterator[Callable[[int], None]]:
        del filename, total

        def update(received: int) -> None:
            if self._received == 0:
                _tell("say", "fetching Kafka's jars, once (44 MB)")
            self._received += received
            received_mb, now_s = self._received // 1_000_000, time.monotonic()
            # The first seconds bring only descriptions (POMs): nothing worth a line.
            if received_mb > self._said_mb and now_s - self._said_s >= _SAY_EVERY_S:
                self._said_mb, self._said_s = received_mb, now_s
                _tell("say", f"fetching Kafka's jars: {received_mb} of 44 MB")

        yield update


def _say_if_slow(jars: list[Path], began_s: float) -> None:
    took_s = time.monotonic() - began_s
    if took_s > _SAY_EVERY_S:
        size_mb = sum(jar.stat().st_size for jar in jars) / 1e6
        _tell("say", f"Kafka's jars are here: {len(jars)}, {size_mb:.0f} MB, {took_s:.0f} s")


def _tell(kind: str, text: str) -> None:
    print(kind, text, flush=True)


def _end_with_stdin() -> None:
    # os.read, not sys.stdin: its lock would be held when the interpreter shuts down.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
