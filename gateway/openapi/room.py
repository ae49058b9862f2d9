"""The waiting room's calls in the OpenAPI document."""

from collections.abc import Mapping
from typing import Final

from gateway.openapi.parts import ANY_CALL, ANY_POST, body, get, headers, json, post, ref, refusals
from gateway.openapi.schemas import Join, Json

NAME: Final = {"name": "room", "in": "path", "required": True, "description": "the room's name, as configured", "schema": {"type": "string"}}
PASS: Final = {
    "name": "Waiting-Room-Pass",
    "in": "header",
    "description": "where the gateway has a waiting room: the pass its door gave",
    "schema": {"type": "string", "minLength": 64, "maxLength": 64},
}
_TICKET: Final = {
    "name": "Waiting-Room-Ticket",
    "in": "header",
    "required": True,
    "description": "the ticket that joining gave; in a browser the page's cookie does as well",
    "schema": {"type": "string"},
}
_TICKET_CODES: Final = ("not-found", "ticket-invalid", "ticket-room", "ticket-epoch", "ticket-revoked", "draining")
PASS_CODES: Final = ("pass-required", "pass-invalid", "pass-expired")

JOIN: Final[Json] = {"join_id": "9b2f6a34-5d1c-4e7a-8f60-3c2d1e0b9a87"}
PLACE: Final[Json] = {"state": "waiting", "ahead": 5226, "p50_s": 1490, "p90_s": 2013, "poll_after_s": 54.2, "sign_age_ms": 240}
JOINED: Final[Json] = {"ticket": "EERhh7fId50bAAAAAGlHJgAAAAAAAAASZwAGRnDEERgA36Vnn3hnvfpE_6cj8wUh", **PLACE}
THROUGH: Final[Json] = {
    "ticket": JOINED["ticket"],
    "state": "through",
    "ahead": 0,
    "p50_s": 0,
    "p90_s": 0,
    "poll_after_s": 0.0,
    "sign_age_ms": 12,
    "pass": "EkRhh7fId50bAAAAAGlHJgAAAAAAAAASZwAGRnDEERgA36Vnn3hnvfpE_6cj8wUh",
    "pass_expires_at": "2026-12-18T06:10:04Z",
    "released_at": "2026-12-18T06:00:03.512Z",
}
PASSED: Final[Json] = {"pass": THROUGH["pass"], "expires_at": THROUGH["pass_expires_at"], "released_at": THROUGH["released_at"]}
_EARLY: Final[Mapping[str, Json]] = {"not-your-turn": {"detail": "the place is kept", **{name: PLACE[name] for name in PLACE if name != "sign_age_ms"}}}


def paths() -> Json:
    """The room's own, and its page."""
    room = "/v1/rooms/{room}"
    return {
        room: {
            "get": get(
                "readSign",
                "The sign over the door: for everybody, one second old at most",
                json(ref("schemas", "SignDocument")),
                parameters=[NAME],
                codes=("not-found",),
            )
        },
        f"{room}/tickets": {"post": _join()},
        f"{room}/place": {"get": _place()},
        f"{room}/passes": {"post": _knock()},
        "/rooms/{room}": {"get": _page(), "post": _act()},
    }


def _join() -> Json:
    examples = {"waiting": JOINED, "through": THROUGH}
    answers = {
        status: {"description": words, "headers": headers((), ("Location",)), "content": json(ref("schemas", "Place"), examples)}
        for status, words in (("201", "A place in the line."), ("200", "The place this `join_id` has already."))
    }
    words = "Once per person: keep the id and the ticket.  On a quiet day the pass comes with the answer."
    codes = [code for code in (*ANY_POST, "not-found") if code != "not-durable"]
    return post("joinLine", "Join the line", words, body(Join, "", JOIN), {**answers, **refusals([*codes, "line-full", "room-closed"])}) | {
        "parameters": [NAME]
    }


def _place() -> Json:
    answer = {"description": "Where you are, and when to ask again.", "headers": headers(()), "content": json(ref("schemas", "Place"), {"waiting": PLACE})}
    return {
        "operationId": "readPlace",
        "summary": "Where am I in the line?",
        "parameters": [NAME, _TICKET],
        "responses": {"200": answer, **refusals((*ANY_CALL, *_TICKET_CODES))},
    }


def _knock() -> Json:
    answer = {"description": "You are through.", "headers": headers(()), "content": json(ref("schemas", "PassReceipt"), {"one": PASSED})}
    return {
        "operationId": "knock",
        "summary": "Go through the door",
        "description": "Held until your turn where that is seconds away.  Repeating it gives the same pass.",
        "parameters": [NAME, _TICKET],
        "responses": {"201": answer, **refusals((*ANY_CALL, *_TICKET_CODES, "not-your-turn"), _EARLY)},
    }


def _page() -> Json:
    html = {"text/html": {"schema": {"type": "string"}}}
    answer = {"description": "The waiting page, Korean or English.", "headers": headers(("Vary",)), "content": html}
    return {
        "operationId": "showRoom",
        "summary": "The waiting room in a browser: only looks",
        "parameters": [NAME],
        "responses": {"200": answer, **refusals((*ANY_CALL, "draining", "not-found"))},
    }


def _act() -> Json:
    form = {"type": "object", "properties": {"act": {"type": "string", "enum": ["join", "enter"]}}, "required": ["act"]}
    answers = {
        "200": {
            "description": "The room is closed: the page says so.",
            "headers": headers(("Vary",)),
            "content": {"text/html": {"schema": {"type": "string"}}},
        },
        "303": {"description": "Done: the page again.", "headers": headers(("Location",))},
        "429": {
            "description": "Not your turn: the page says when.",
            "headers": headers(("Retry-After",)),
            "content": {"text/html": {"schema": {"type": "string"}}},
        },
    }
    codes = (
        "bad-request",
        "method-not-allowed",
        "request-timeout",
        "internal",
        "overloaded",
        "draining",
        "body-too-large",
        "unsupported-media-type",
        "invalid",
        "not-found",
    )
    return {
        "operationId": "actInRoom",
        "summary": "The page's form: join, or knock",
        "parameters": [NAME],
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}},
        "responses": answers | {status: answer for status, answer in refusals(codes).items() if status not in answers},
    }
