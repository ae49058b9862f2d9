"""A leased port is free of others and of other stacks."""

from __future__ import annotations

import socket

from devstack.ports import HOST, lease_port


def test_the_usual_port_when_it_is_free_else_another() -> None:
    """A lease keeps the next stack away even before a server listens."""
    usual = lease_port()
    usual.release()
    first = lease_port(usual.port)
    second = lease_port(usual.port)
    assert first.port == usual.port
    assert second.port != usual.port
    first.release()
    second.release()


def test_a_port_somebody_listens_on_is_not_leased() -> None:
    """Whoever it is, and though they know nothing of our locks."""
    with socket.create_server((HOST, 0)) as stranger:
        taken = stranger.getsockname()[1]
        lease = lease_port(taken)
        assert lease.port != taken
        lease.release()
