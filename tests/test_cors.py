"""Which pages may call us: those named, exactly; and a shared cache never serves one page's leave to another."""

import pytest

from gateway.cors import SHARED, Cors
from gateway.metrics import ROUTES

PAGE = "https://app.example"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://app.example", "https://app.example:8443", "https://app.example.evil.example", "*"]
)
def test_a_page_that_is_not_named_is_told_nothing(origin: str) -> None:
    assert Cors([PAGE]).headers(origin) == b"Vary: Origin\r\n"


def test_a_page_that_is_named_may_read_what_an_app_reads() -> None:
    cors = Cors([PAGE, "http://localhost:3000"])
    for origin in (PAGE, "http://localhost:3000"):
        lines = cors.headers(origin).decode().split("\r\n")
        assert f"Access-Control-Allow-Origin: {origin}" in lines
        assert "Vary: Origin" in lines
        assert any(line.startswith("Access-Control-Expose-Headers:") and "Retry-After" in line and "Location" in line for line in lines)
        assert lines[-1] == ""  # each line is ended
        assert "Credentials" not in cors.headers(origin).decode()


def test_without_origins_it_is_off() -> None:
    assert (Cors(()).is_on, Cors([PAGE]).is_on) == (False, True)


def test_what_is_shared_are_routes() -> None:
    assert set(ROUTES) >= SHARED
    assert "syncs" not in SHARED
