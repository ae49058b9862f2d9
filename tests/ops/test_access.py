"""Who reaches the port, and under which name."""

import pytest

from gateway.errors import ConfigError
from gateway.ops.access import check_bind, cookie, is_loopback


@pytest.mark.parametrize(
    ("bind", "is_so"),
    [
        ("127.0.0.1:8081", True),
        ("127.8.9.1:1", True),
        ("[::1]:8081", True),
        ("localhost:8081", True),
        ("0.0.0.0:8081", False),
        ("[::]:8081", False),
        ("10.0.0.5:8081", False),
        ("ops.example:8081", False),
        ("localhost.example:8081", False),
        ("[::ffff:10.0.0.1]:1", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(bind: str, is_so: bool) -> None:
    assert is_loopback(bind) is is_so


def test_bound_elsewhere_without_a_token_nothing_starts() -> None:
    check_bind("127.0.0.1:8081", "")
    check_bind("0.0.0.0:8081", "token")
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0:8081.*ops"):
        check_bind("0.0.0.0:8081", "")


def test_a_cookie_no_script_reads_and_no_other_site_sends() -> None:
    assert cookie("v", is_secure=True) == "sluicegate-ops=v; HttpOnly; Max-Age=43200; Path=/; SameSite=Strict; Secure"
    assert cookie("", is_secure=False) == 'sluicegate-ops=""; HttpOnly; Max-Age=0; Path=/; SameSite=Strict'
