"""Who may connect, and whose time is up.  What a connection does is asked over real sockets: system/test_connections.py."""

from typing import Final

import msgspec
import pytest

from gateway.config import Http
from gateway.connections import Connections
from gateway.core.address import peer_of
from gateway.errors import Refusal
from gateway.reply import Replies
from tests.fakes import new_slot

SETTINGS: Final = msgspec.structs.replace(
    Http(), connections_per_address_max=1, trusted_proxies=("10.9.0.0/16", "2001:db8:ff::/48"), headers_timeout_s=10.0, write_timeout_s=20.0
)


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ("10.0.0.1", "::ffff:10.0.0.1", "too-many-connections"),
        ("2001:db8::1", "2001:db8::2", "too-many-connections"),
        ("2001:db8::1", "2001:db8:0:1::1", None),
        ("", "", "too-many-connections"),  # a Unix socket's are one peer
        ("::ffff:10.9.0.1", "::ffff:10.9.0.1", None),  # our proxy, on a socket that speaks both
        ("2001:db8:ff::1", "2001:db8:ff::1", None),  # our proxy
    ],
)
def test_one_place_has_its_cap_and_the_refused_are_counted(first: str, second: str, code: str | None) -> None:
    slot = new_slot()
    connections = Connections(SETTINGS, Replies("test"), slot)
    assert connections.enter(peer_of(first)) is None
    refusal = connections.enter(peer_of(second))
    assert (refusal and refusal.problem.code) == code
    assert slot.counters_by("sluicegate_refusals_total")["too-many-connections"].value == (code is not None)
    connections.leave(peer_of(first))
    assert connections.enter(peer_of("10.0.0.1")) is None


class Told:
    """A connection that remembers what became of it."""

    def __init__(self) -> None:
        self.is_idle = True
        self.codes: list[str] = []

    def end(self, refusal: Refusal) -> None:
        self.codes.append(refusal.problem.code)

    def abort(self) -> None:
        self.codes.append("aborted")


def test_a_head_has_its_time_from_when_we_listen_to_it() -> None:
    """Rows of (time, is idle, what it was told): while the request before it is in hand, the time does not run."""
    connections, told = Connections(SETTINGS, Replies("test"), new_slot()), Told()
    connections.head_began(told, 0.0)
    for now_s, is_idle, codes in [(1, True, []), (8, False, []), (17.9, True, []), (18, True, ["request-timeout"]), (99, True, ["request-timeout"])]:
        told.is_idle = is_idle
        connections.sweep(now_s)
        assert (now_s, told.codes) == (now_s, codes)
    assert not connections.has_begun(told)


def test_a_head_that_trickles_has_its_time_from_its_first_byte() -> None:
    connections, told = Connections(SETTINGS, Replies("test"), new_slot()), Told()
    for now_s in (0.0, 9.0):
        connections.head_began(told, now_s)
    connections.sweep(10.0)
    assert told.codes == ["request-timeout"]


def test_a_head_that_is_complete_has_no_deadline() -> None:
    connections, told = Connections(SETTINGS, Replies("test"), new_slot()), Told()
    connections.head_began(told, 0.0)
    assert connections.has_begun(told)
    connections.head_ended(told)
    connections.sweep(99.0)
    assert not told.codes


def test_who_does_not_read_is_aborted_in_time_and_who_reads_is_not() -> None:
    connections, deaf, slow = Connections(SETTINGS, Replies("test"), new_slot()), Told(), Told()
    for connection in (deaf, slow):
        connections.unread(connection, 0.0)
    connections.unread(deaf, 15.0)  # its time runs from the first
    connections.sweep(19.9)
    connections.read(slow)
    connections.sweep(20.0)
    assert deaf.codes == ["aborted"]
    connections.unread(slow, 20.0)
    connections.sweep(39.9)
    assert (deaf.codes, slow.codes) == (["aborted"], [])
