"""One address, one socket per worker, nobody else's."""

import os
import socket

import pytest

from gateway.errors import ConfigError
from gateway.listeners import Listeners


def address_of(listeners: Listeners) -> tuple[str, int]:
    host, _, port = listeners.url.removeprefix("http://").rpartition(":")
    return host.strip("[]"), int(port)


def is_open(address: tuple[str, int]) -> bool:
    with socket.socket() as visitor:
        return visitor.connect_ex(address) == 0


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_port_0_picks_one_port_for_all(bind: str) -> None:
    listeners = Listeners(bind, count=3, backlog=16)
    sockets = [socket.socket(fileno=os.dup(fd)) for fd in listeners.fds]
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    assert address_of(listeners) == (bind.rpartition(":")[0].strip("[]"), sockets[0].getsockname()[1])
    assert all(os.get_inheritable(fd) for fd in listeners.fds)
    for sock in sockets:
        sock.close()
    listeners.close()


def test_connections_are_refused_before_listen_and_queue_after_it() -> None:
    listeners = Listeners("127.0.0.1:0", count=2, backlog=16)
    address = address_of(listeners)
    assert not is_open(address)
    listeners.listen()
    assert is_open(address)
    listeners.close()
    assert not is_open(address)


def test_an_address_another_gateway_listens_on_is_not_shared() -> None:
    first = Listeners("127.0.0.1:0", count=2, backlog=16)
    first.listen()
    host, port = address_of(first)
    with pytest.raises(ConfigError, match=f"^http.bind {host}:{port}: Address already in use$"):
        Listeners(f"{host}:{port}", count=2, backlog=16)
    first.close()
    Listeners(f"{host}:{port}", count=1, backlog=16).close()


@pytest.mark.parametrize("bind", ["192.0.2.1:0", "no.such.host.invalid:80"])
def test_an_address_that_is_not_ours_is_a_config_error(bind: str) -> None:
    with pytest.raises(ConfigError, match=rf"^http\.bind {bind}: "):
        Listeners(bind, count=1, backlog=16)
