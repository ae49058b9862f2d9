"""Whose word is taken on where a request comes from, and what is counted of an address."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.address import Peer, Proxies, network_of, peer_of, place_of

OURS = Proxies(("10.0.0.0/8", "2001:db8:ff::/48", "::ffff:172.16.0.0/108"))
PROXY = "10.0.0.1"
CLIENT = "203.0.113.7"

PEERS = [
    ("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.0/24"),
    ("255.255.255.255", "255.255.255.255", "255.255.255.255", "255.255.255.0/24"),
    ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.0/24"),
    ("::FFFF:a00:1", "10.0.0.1", "10.0.0.1", "10.0.0.0/24"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ("2001:DB8:1:2::", "2001:db8:1:2::", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ("fe80::1%lo", "fe80::1%lo", "fe80:0:0:0::/64", "fe80:0:0::/48"),
    ("::1", "::1", "0:0:0:0::/64", "0:0:0::/48"),
    ("2002:c000:204::1", "2002:c000:204::1", "2002:c000:204:0::/64", "2002:c000:204::/48"),  # 6to4 of 192.0.2.4
    ("64:ff9b::c000:204", "64:ff9b::c000:204", "64:ff9b:0:0::/64", "64:ff9b:0::/48"),  # NAT64 of the same
    ("", "", "", ""),  # a Unix socket
]


@pytest.mark.parametrize(("address", "known_as", "place", "network"), PEERS)
def test_an_address_is_what_it_is_in_its_own_family(address: str, known_as: str, place: str, network: str) -> None:
    assert peer_of(address) == Peer(known_as, place, network)
    assert (place_of(address), network_of(address)) == (place, network)


@given(st.ip_addresses(v=6), st.integers(0, 127))
def test_an_ipv6_place_is_its_64_and_a_network_its_48(ip: ipaddress.IPv6Address, bit: int) -> None:
    if ip.ipv4_mapped is not None:
        return
    peer = peer_of(str(ip))
    assert ipaddress.ip_network(peer.place) == ipaddress.ip_network((int(ip), 64), strict=False)
    assert ipaddress.ip_network(peer.network) == ipaddress.ip_network((int(ip), 48), strict=False)
    other = ipaddress.IPv6Address(int(ip) ^ 1 << bit)  # one bit from it
    if other.ipv4_mapped is None:
        assert (place_of(str(other)) == peer.place, network_of(str(other)) == peer.network) == (bit < 64, bit < 80)


@given(st.ip_addresses(v=4))
def test_an_ipv4_place_is_itself_and_a_network_its_24(ip: ipaddress.IPv4Address) -> None:
    assert place_of(str(ip)) == str(ip)
    assert ipaddress.ip_network(network_of(str(ip))) == ipaddress.ip_network((int(ip), 24), strict=False)


# Who asks

WALKS = {
    "no header": (PROXY, [], PROXY),
    "one hop": (PROXY, ["203.0.113.7"], CLIENT),
    "what the client claims": (PROXY, ["198.51.100.1, 203.0.113.7"], CLIENT),
    "a claim in a line of its own": (PROXY, ["198.51.100.1", "203.0.113.7"], CLIENT),
    "two of ours": (PROXY, ["198.51.100.1, 203.0.113.7, 10.1.2.3"], CLIENT),
    "ours of another family": (PROXY, ["203.0.113.7, 2001:db8:ff::1"], CLIENT),
    "a claim to be one of ours": (PROXY, ["10.9.9.9, 203.0.113.7"], CLIENT),
    "none but ours": (PROXY, ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
    "a peer that is not ours": ("192.0.2.1", ["203.0.113.7"], "192.0.2.1"),
    "a Unix socket": ("", ["203.0.113.7"], ""),
    "a proxy over IPv6": ("2001:db8:ff::1", ["203.0.113.7"], CLIENT),
    "a peer with a zone": ("fe80::1%lo", ["203.0.113.7"], "fe80::1%lo"),
    "a network of ours written as IPv6": ("172.16.0.1", ["203.0.113.7"], CLIENT),
    "and not beyond it": ("172.32.0.1", ["203.0.113.7"], "172.32.0.1"),
    "spaces and tabs": (PROXY, [" 198.51.100.1 ,\t203.0.113.7\t"], CLIENT),
    "a port": (PROXY, ["203.0.113.7:567"], CLIENT),
    "a proxy's port": (PROXY, ["203.0.113.7, 10.1.2.3:8080"], CLIENT),
    "mapped": (PROXY, ["::ffff:203.0.113.7"], CLIENT),
    "a mapped proxy": (PROXY, ["203.0.113.7, ::ffff:10.1.2.3"], CLIENT),
    "mapped, in brackets, with a port": (PROXY, ["[::ffff:203.0.113.7]:443"], CLIENT),
    "IPv6": (PROXY, ["2001:DB8:0:0::1"], "2001:db8::1"),
    "IPv6 in brackets": (PROXY, ["[2001:db8::1]"], "2001:db8::1"),
    "IPv6 with a port": (PROXY, ["[2001:db8::1]:443"], "2001:db8::1"),
    "a zone is cut": (PROXY, ["[fe80::2%eth0]:443"], "fe80::2"),
    "garbage left of the client": (PROXY, ["'; --, 203.0.113.7"], CLIENT),
    "unknown left of ours": (PROXY, ["203.0.113.7, unknown, 10.1.2.3"], "10.1.2.3"),
}
GARBAGE = ["", " ", "unknown", "_hidden", "gateway", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:123456", "1.2.3.4/8"]
GARBAGE += [
    "[1.2.3.4]",
    "[::1",
    "::1]",
    "[::1]443",
    "[::1]:",
    "::1/64",
    "::1%",
    "1:2",
    ":",
    "[]",
    ":::",
    "١.2.3.4",
    "1.2.3.4\x00",
    "1.2.3.4 5",
    "\udcff",
    "for=1.2.3.4",
]
WALKS |= {f"garbage {hop!r}": (PROXY, [f"203.0.113.7, {hop}"], PROXY) for hop in GARBAGE}
WALKS |= {f"garbage {hop!r} left of ours": (PROXY, [f"203.0.113.7, {hop}", "10.1.2.3"], "10.1.2.3") for hop in GARBAGE}


@pytest.mark.parametrize(("peer", "lines", "client"), WALKS.values(), ids=WALKS)
def test_the_client_is_the_right_most_hop_that_is_not_ours(peer: str, lines: list[str], client: str) -> None:
    assert OURS.client(peer, lines) == client
    assert OURS.client(peer, tuple(lines)) == client  # remembered


def test_without_proxies_nobody_speaks_for_others() -> None:
    assert Proxies(()).client(PROXY, [CLIENT]) == PROXY
    assert not Proxies(()).is_trusted(PROXY)
    assert not Proxies(("0.0.0.0/0", "::/0")).is_trusted("")


def test_who_is_trusted_is_each_ones_own() -> None:
    """What one remembers is not another's: a reload makes new ones."""
    theirs = Proxies(("203.0.113.7",))
    assert [proxies.client(PROXY, [f"192.0.2.1, {CLIENT}"]) for proxies in (OURS, theirs)] == [CLIENT, PROXY]
    assert theirs.client(CLIENT, [f"192.0.2.1, {CLIENT}"]) == "192.0.2.1"


def test_nothing_long_is_remembered() -> None:
    ours = Proxies((PROXY,))
    assert ours.client(PROXY, ["0" * 1_000 + ":", "x" * 60]) == PROXY
    assert ours._hop.cache_info().currsize == 1


def test_only_the_last_twenty_hops_are_looked_at() -> None:
    hops = [f"10.0.1.{n}" for n in range(20)]
    assert OURS.client(PROXY, [", ".join([CLIENT, *hops])]) == "10.0.1.0"
    assert OURS.client(PROXY, [", ".join([CLIENT, *hops[1:]])]) == CLIENT


def test_a_hop_that_is_cut_by_the_bound_is_not_another_address() -> None:
    """Half of 203.0.113.7 would be 3.0.113.7."""
    for room in range(1_970, 2_010):
        line = f"{CLIENT},{' ' * (room - len('10.0.0.9'))}10.0.0.9"
        expected = CLIENT if len(line) <= 2_000 else "10.0.0.9" if room < 2_000 else PROXY
        assert OURS.client(PROXY, [line]) == expected, room
    assert OURS.client(PROXY, ["1" * 3_000]) == PROXY


ADDRESSES = st.one_of(st.ip_addresses().map(str), st.integers(0, 255).map("10.0.0.{}".format), st.integers(0, 9).map("2001:db8:ff::{}".format))
HOPS = st.one_of(
    ADDRESSES,
    ADDRESSES.map(lambda address: f"[{address}]:443" if ":" in address else f"{address}:443"),
    ADDRESSES.map(lambda address: f"::ffff:{address}" if ":" not in address else f" {address.upper()}\t"),
)
TEXTS = st.one_of(st.text(), st.text("0123456789abcdf.:,[]% \t/"), st.lists(st.one_of(HOPS, st.text(max_size=9)), max_size=30).map(", ".join))


@given(ADDRESSES | st.just(""), st.lists(TEXTS, max_size=4))
@example(PROXY, ["," * 30_000])
@example(PROXY, ["[" * 30_000, "1.2.3.4," * 9_000])
@example(PROXY, ["\udc80, 1.2.3.4:\udc80"])
def test_nothing_a_header_contains_makes_it_raise(peer: str, lines: list[str]) -> None:
    """And what it says is the peer, or an address whose place can be counted and whose name is short."""
    client = OURS.client(peer, lines)
    if client != peer:
        assert str(ipaddress.ip_address(client)) == client
        assert OURS.is_trusted(peer)
    assert peer_of(client).place or client == ""


@given(
    st.lists(TEXTS, max_size=4),
    ADDRESSES.filter(lambda address: not OURS.is_trusted(address)),
    st.lists(st.sampled_from(["10.1.1.1", "10.2.2.2:80"]), max_size=5),
)
def test_what_the_client_claims_changes_nothing(claimed: list[str], client: str, ours: list[str]) -> None:
    """The promise all limits of an address rest on: what is left of the hop our proxy added is not read."""
    told = ", ".join([client, *ours])
    expected = peer_of(client).address
    assert OURS.client(PROXY, [*claimed, told]) == expected
    assert OURS.client(PROXY, [", ".join([*claimed, told])]) == expected
    assert OURS.client(PROXY, [*claimed, client, *ours]) == expected


@given(st.lists(HOPS, min_size=1, max_size=25))
def test_of_good_hops_the_first_from_the_right_that_is_not_ours_or_the_last_one_looked_at(hops: list[str]) -> None:
    plain = [peer_of(_bare(hop)).address for hop in hops]
    expected = next((address for address in reversed(plain[-20:]) if not OURS.is_trusted(address)), plain[-20:][0])
    assert OURS.client(PROXY, [", ".join(hops)]) == expected


def _bare(hop: str) -> str:
    hop = hop.strip()
    return hop.removesuffix(":443").strip("[]") if hop.endswith("]:443") or "." in hop else hop
