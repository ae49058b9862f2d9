"""Who is at the other end: of a socket, and of the proxies in front of us.

Decided here: which address a request comes from, and under which names it is
counted.  Not decided here: how much an address may do (connections.py, the limits).

    phone ──▶ proxies, theirs or nobody's ──▶ our proxy ──▶ our socket
              "X-Forwarded-For: a, b, c"                    peer_address

Each proxy appends the peer it saw, so the list is true only as far as our own
proxies wrote it.  It is walked from its right end, where they write, and only if
the socket's own peer is one of ours: the first hop that is not one of ours is
the client, and whatever stands left of it is the client's own fiction.

Pure, and remembered: the same few addresses come ten thousand times a second.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Final, NamedTuple

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Of one header: nobody has more proxies than this in a row.
_HOPS_MAX: Final = 20
_FORWARDED_CHARS_MAX: Final = 2_000
# More than the connections a worker holds (http.connections_max); up to 0.5 kB each, in two places.
_REMEMBERED_MAX: Final = 16_384
_HOP_CHARS_MAX: Final = len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%eth0]:65535")
# 192.0.2.1 | 192.0.2.1:567 | [2001:db8::1] | [2001:db8::1]:443 | 2001:db8::1.  A port is cut, and so is a zone: it is another machine's.
_HOP: Final = re.compile(r"([0-9.]+)(?::[0-9]{1,5})?|(\[)?([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)(?:%[^%/\[\]]+)?(?(2)\](?::[0-9]{1,5})?)")


class Peer(NamedTuple):
    """One address, and what is counted of it."""

    address: str  # an IPv4 address as such, also where the socket speaks IPv6
    place: str  # for limits and caps: of IPv4 the address, of IPv6 its /64, which is what one household or phone is given
    network: str  # for the limit on newcomers: of IPv4 the /24, of IPv6 the /48, which is what one customer can have


def peer_of(address: str) -> Peer:
    """Who an address is, of a socket or of `Proxies.client`; all that comes over a Unix socket is one peer, "".

    What carries an IPv4 address without being one (6to4, NAT64) is counted as the IPv6 address it is.
    """
    return _known(address)[1] if address else _NOBODY


def place_of(address: str) -> str:
    """What limits and caps count of it."""
    return peer_of(address).place


def network_of(address: str) -> str:
    """What the limit on newcomers counts of it."""
    return peer_of(address).network


class Proxies:
    """Our own proxies (http.trusted_proxies), whose word on where a request comes from is taken."""

    __slots__ = ("_hop",)

    def __init__(self, networks: Iterable[str]) -> None:
        self._hop = lru_cache(maxsize=_REMEMBERED_MAX)(partial(_read, tuple(map(_network_of, networks))))

    def is_trusted(self, address: str) -> bool:
        """Whether this is one of ours.  A Unix socket's peer ("") is not: no setting names it."""
        return self._hop(address).is_ours

    def client(self, peer_address: str, forwarded: Sequence[str]) -> str:
        """The address a request comes from: the right-most hop that is not ours; never raises.

        A hop that is no address ends the walk, and the one right of it counts: one of our proxies said
        it and nobody knows more.  So do the bounds, and a list of nothing but our own.  A peer that is not
        ours is the client whatever it says; so is a Unix socket's, "".

        Args: forwarded: the X-Forwarded-For lines, in their order.
        """
        if not forwarded or not self._hop(peer_address).is_ours:
            return peer_address
        client = peer_address
        for text in reversed(_last_hops(forwarded)):
            hop = self._hop(text) if len(text) <= _HOP_CHARS_MAX else _NO_HOP  # what is remembered is short
            if not hop.address:
                break
            client = hop.address
            if not hop.is_ours:
                break
        return client


class _Hop(NamedTuple):
    """What a text in the list is; no address: none."""

    address: str
    is_ours: bool


_NOBODY: Final = Peer("", "", "")
_NO_HOP: Final = _Hop("", is_ours=False)


def _last_hops(lines: Sequence[str]) -> list[str]:
    joined = ",".join(lines)
    if len(joined) > _FORWARDED_CHARS_MAX:
        # The cut may go through a hop, and half an address is another address: that one is left out.
        joined = joined[-_FORWARDED_CHARS_MAX:].partition(",")[2]
    return [hop.strip(" \t") for hop in joined.rsplit(",", _HOPS_MAX)[-_HOPS_MAX:]]


def _read(networks: Sequence[_Network], text: str) -> _Hop:
    match = _HOP.fullmatch(text)
    if match is None:
        return _NO_HOP
    try:
        ip, peer = _known(match[1] or match[3])
    except ValueError:
        return _NO_HOP
    return _Hop(peer.address, any(ip in network for network in networks))


@lru_cache(maxsize=_REMEMBERED_MAX)
def _known(address: str) -> tuple[_IP, Peer]:
    """Raises ValueError where this is no address.  Six times as dear as all the rest: each is read once."""
    if ":" not in address:
        return ipaddress.IPv4Address(address), Peer(address, address, f"{address.rpartition('.')[0]}.0/24")
    ip = ipaddress.IPv6Address(address)
    if ip.ipv4_mapped is not None:  # 10.0.0.1 is ::ffff:10.0.0.1 to a socket bound to [::]
        return _known(str(ip.ipv4_mapped))
    site = f"{(bits := int(ip)) >> 112:x}:{bits >> 96 & 0xFFFF:x}:{bits >> 80 & 0xFFFF:x}"
    return ip, Peer(str(ip), f"{site}:{bits >> 64 & 0xFFFF:x}::/64", f"{site}::/48")


def _network_of(text: str) -> _Network:
    network = ipaddress.ip_network(text)
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    return network if mapped is None or network.prefixlen < 96 else ipaddress.IPv4Network((int(mapped), network.prefixlen - 96))
