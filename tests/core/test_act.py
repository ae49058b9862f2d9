"""What an operator may ask, and what follows from it."""

import json

import msgspec
import pytest

from gateway.core.act import Change, Fault, Undo, acted, differences, read, undone
from gateway.core.sign import Acts

FLOOR, CEILING = 10.0, 1_000.0


def asked(**fields: object) -> Change | Undo | list[Fault]:
    return read(json.dumps({"reason": "because", **fields}).encode(), FLOOR, CEILING)


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({"rate_per_s": 50}, Change("because", 50.0)),
        ({"rate_per_s": 10}, Change("because", 10.0)),
        ({"rate_per_s": 1000.0}, Change("because", 1_000.0)),
        ({"rate_per_s": None}, Change("because", None)),
        ({"paused": True}, Change("because", paused=True)),
        ({"paused": False, "message": ""}, Change("because", paused=False, message="")),
        ({"closed": True}, Change("because", closed=True)),
        ({"closed": False, "paused": True}, Change("because", paused=True, closed=False)),
        ({"undo": 1_769_519_405_000_000}, Undo("because", 1_769_519_405_000_000)),
        ({"message": "곧 다시 엽니다"}, Change("because", message="곧 다시 엽니다")),
        ({"message": "가" * 500, "reason": "x" * 500}, Change("x" * 500, message="가" * 500)),
    ],
)
def test_what_is_asked_is_understood(fields: dict[str, object], want: Change) -> None:
    assert asked(**fields) == want


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({}, [""]),
        ({"rate_per_s": 9.99}, ["/rate_per_s"]),
        ({"rate_per_s": 1000.1}, ["/rate_per_s"]),
        ({"rate_per_s": 0}, ["/rate_per_s"]),
        ({"rate_per_s": -50}, ["/rate_per_s"]),
        ({"rate_per_s": True}, ["/rate_per_s"]),
        ({"rate_per_s": "50"}, ["/rate_per_s"]),
        ({"rate_per_s": "kept"}, ["/rate_per_s"]),
        ({"paused": 1}, ["/paused"]),
        ({"paused": None}, ["/paused"]),
        ({"paused": "kept"}, ["/paused"]),
        ({"closed": "kept"}, ["/closed"]),
        ({"closed": None}, ["/closed"]),
        ({"undo": None}, ["/undo"]),
        ({"undo": True}, ["/undo"]),
        ({"undo": "7"}, ["/undo"]),
        ({"undo": 7.0}, ["/undo"]),
        ({"undo": 7, "paused": True}, ["/undo"]),
        ({"undo": 7, "message": ""}, ["/undo"]),
        ({"undo": 7, "rate_per_s": None}, ["/undo"]),
        ({"undo": 7, "closed": False, "reason": ""}, ["/undo", "/reason"]),
        ({"message": None}, ["/message"]),
        ({"message": "x" * 501}, ["/message"]),
        ({"message": "a\x1b[2J"}, ["/message"]),
        ({"message": "a\nb"}, ["/message"]),
        ({"message": "a\x7f"}, ["/message"]),
        ({"paused": True, "reason": ""}, ["/reason"]),
        ({"paused": True, "reason": "  "}, ["/reason"]),
        ({"paused": True, "reason": None}, ["/reason"]),
        ({"paused": True, "reason": "x" * 501}, ["/reason"]),
        ({"paused": True, "rate": 5}, ["/rate"]),
        ({"paused": True, "a/b~c": 5}, ["/a~1b~0c"]),
        ({"rate_per_s": "x", "paused": 0, "message": 1, "reason": 2, "more": 3}, ["/more", "/rate_per_s", "/paused", "/message", "/reason"]),
    ],
)
def test_all_that_is_wrong_is_named(fields: dict[str, object], pointers: list[str]) -> None:
    found = asked(**fields)
    assert isinstance(found, list)
    assert [fault.pointer for fault in found] == pointers


def test_a_reason_is_always_wanted() -> None:
    assert read(b'{"paused": true}', FLOOR, CEILING) == [Fault("/reason", "want text of 1 to 500 characters, none of them a control")]


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"paused"'])
def test_only_an_object_is_a_call(body: bytes) -> None:
    assert read(body, FLOOR, CEILING) == [Fault("", "want an object")]


@pytest.mark.parametrize("body", [b"", b"{", b'{"rate_per_s": NaN}', b"\xff", b'{"message": "\\ud800"}'])
def test_what_is_no_json_is_told_apart(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        read(body, FLOOR, CEILING)


def test_what_is_not_named_stays() -> None:
    last = Acts(5, is_paused=True, told_per_s=50.0, message="m")
    closed = last._replace(is_closed=True)
    assert acted(last, Change("r", closed=True), 9) == closed._replace(version=9)
    assert acted(closed, Change("r", closed=False), 9) == last._replace(version=9)
    assert acted(closed, Change("r", paused=False), 9) == Acts(9, False, 50.0, "m", True)
    rows = [
        (Change("r", 20.0), Acts(9, True, 20.0, "m")),
        (Change("r", None), Acts(9, True, None, "m")),
        (Change("r", paused=False), Acts(9, False, 50.0, "m")),
        (Change("r", message=""), Acts(9, True, 50.0, "")),
    ]
    for change, want in rows:
        assert acted(last, change, 9) == want


def test_a_version_is_more_than_the_last_whatever_the_clock_says() -> None:
    for last, now_us, want in [(0, 7, 7), (7, 7, 8), (9, 7, 10), (6, 7, 7)]:
        assert acted(Acts(last), Change("r", paused=True), now_us).version == want


def test_an_undo_is_of_the_newest_act_alone_and_gets_a_version_of_its_own() -> None:
    before, last = Acts(5, told_per_s=50.0), Acts(9, is_closed=True)
    for now_us, version in ((20, 20), (7, 10)):
        assert undone(last, before, Undo("r", 9), now_us) == before._replace(version=version)
    for fault in (undone(last, before, Undo("r", 5), 20), undone(last, None, Undo("r", 9), 20), undone(Acts(), None, Undo("r", 0), 20)):
        assert isinstance(fault, Fault)
        assert fault.pointer == "/undo"
    assert undone(last, before, Undo("r", 5), 20) == Fault("/undo", "want 9, the newest act: only that one can be undone")
    assert undone(last, None, Undo("r", 9), 20) != undone(last, before, Undo("r", 5), 20)


def test_only_what_changed_is_told() -> None:
    assert differences(Acts(1), Acts(2, is_closed=True)) == {"is_closed": (False, True)}
    assert differences(Acts(1), Acts(2, is_paused=True)) == {"is_paused": (False, True)}
    assert differences(Acts(1), Acts(2)) == {}
