"""benchmarks/servers.py, load.py, machine.py: real processes, started, told apart and ended."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import load, machine, servers, sut, traffic
from benchmarks.generator import Job

REQUESTS = traffic.requests(["token"] * 4, 1, datetime(2026, 1, 27, tzinfo=UTC))
CORES = frozenset(os.sched_getaffinity(0))


def command(program: str, port: int = 9) -> servers.Command:
    """Return a server that is one line of Python."""
    return servers.Command((sys.executable, "-c", program), port, sut.ROOT)


async def test_a_server_that_dies_tells_its_last_words(tmp_path: Path) -> None:
    """Not a timeout a minute later."""
    program = "import sys; sys.exit('no Kafka here')"
    with pytest.raises(servers.ServerError, match=r"(?s)ended with 1.*no Kafka here"):
        await servers.start("arm", command(program), CORES, tmp_path / "log")


async def test_a_server_is_ready_when_it_says_so_and_ended_when_told(tmp_path: Path) -> None:
    """READY may be followed by anything, and anything may precede its line."""
    program = "print('starting\\nREADY on 9', flush=True); import time; time.sleep(600)"
    server = await servers.start("arm", command(program), CORES, tmp_path / "log")
    assert server.process.returncode is None
    await servers.stop(server)
    assert server.process.returncode is not None


async def test_load_on_bare_aiohttp_is_answered_and_counted(tmp_path: Path) -> None:
    """Every request sent is answered with 202 or counted as lost; here none is lost."""
    (tmp_path / "traffic").write_bytes(traffic.framed(REQUESTS))
    bare = sut.peer_command("bare", sut.NOWHERE, b"")
    server = await servers.start("bare", bare, CORES, tmp_path / "log")
    generator = load.OwnProcess()
    try:
        await servers.probe(server, REQUESTS[0])
        job = Job(port=server.port, traffic=str(tmp_path / "traffic"), connections=4, seconds=1.0)
        answered = await generator.run(job)
        again = await generator.run(job)
    finally:
        await generator.close()
        await servers.stop(server)
    for one in (answered, again):
        assert list(one["statuses"]) == ["202"]
        assert one["statuses"]["202"] >= 4
        assert (one["lost"], one["spooled"], one["error"]) == (0, 0, "")
        assert 0 < one["p50_ms"] <= one["p99_ms"]


async def test_a_port_nobody_listens_on_is_an_answer_with_an_error(tmp_path: Path) -> None:
    """The generator lives on and says why."""
    (tmp_path / "traffic").write_bytes(traffic.framed(REQUESTS))
    generator = load.OwnProcess()
    try:
        answered = await generator.run(
            Job(
                port=servers.free_port(),
                traffic=str(tmp_path / "traffic"),
                connections=2,
                seconds=0.1,
            )
        )
    finally:
        await generator.close()
    assert answered["statuses"] == {}
    assert "port" in answered["error"]


@pytest.mark.parametrize(
    ("available", "servers_on", "others_on"),
    [({0}, {0}, {0}), ({0, 1}, {0}, {1}), ({2, 3, 5}, {2}, {3, 5})],
)
def test_servers_have_a_core_to_themselves_where_there_are_two(available: set[int], servers_on: set[int], others_on: set[int]) -> None:
    """The lowest core this process may use; with one, nobody is pinned and it is said."""
    cores = machine.divide(frozenset(available))
    assert (set(cores.servers), set(cores.others)) == (servers_on, others_on)
    assert ("nobody is pinned" in str(cores)) is (len(available) == 1)
