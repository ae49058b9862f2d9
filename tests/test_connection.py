"""Who is at the other end of a connection.  What a connection does is asked over real sockets: system/test_connections.py."""

import msgspec
import pytest

from gateway.config import Http
from gateway.connection import Connections, Peer, peer_of
from gateway.reply import Replies
from tests.fakes import new_slot


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("10.0.0.1", Peer("10.0.0.1", "10.0.0.1")),
        ("::ffff:10.0.0.1", Peer("10.0.0.1", "10.0.0.1")),
        ("2001:db8:1:2:3:4:5:6", Peer("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64")),
        ("2001:db8:1:2::", Peer("2001:db8:1:2::", "2001:db8:1:2::/64")),
        ("fe80::1%lo", Peer("fe80::1%lo", "fe80::/64")),
        ("::1", Peer("::1", "::/64")),
        ("", Peer("", "")),
    ],
)
def test_an_address_is_what_it_is_in_its_own_family(address: str, peer: Peer) -> None:
    assert peer_of(address) == peer


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ("10.0.0.1", "::ffff:10.0.0.1", "too-many-connections"),
        ("2001:db8::1", "2001:db8::2", "too-many-connections"),
        ("2001:db8::1", "2001:db8:0:1::1", None),
        ("::ffff:10.9.0.1", "::ffff:10.9.0.1", None),  # our proxy, on a socket that speaks both
        ("2001:db8:ff::1", "2001:db8:ff::1", None),  # our proxy
    ],
)
def test_one_place_has_its_cap_and_the_refused_are_counted(first: str, second: str, code: str | None) -> None:
    slot = new_slot()
    settings = msgspec.structs.replace(Http(), connections_per_address_max=1, trusted_proxies=("10.9.0.0/16", "2001:db8:ff::/48"))
    connections = Connections(settings, Replies("test"), slot)
    assert connections.enter(peer_of(first)) is None
    refusal = connections.enter(peer_of(second))
    assert (refusal and refusal.problem.code) == code
    assert slot.counters_by("sluicegate_refusals_total")["too-many-connections"].value == (code is not None)
    connections.leave(peer_of(first))
    assert connections.enter(peer_of("10.0.0.1")) is None
