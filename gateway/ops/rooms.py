"""GET and POST /api/rooms/{room} on the operators' port: see the room, and say what it is to do.

Decided here: how it looks.  What may be asked is decided in core/act.py, what becomes of it in pacer.py.

    POST {"rate_per_s": 50 | null, "paused": bool, "closed": bool, "message": "…", "reason": "…"}
        what is absent stays; null: as downstream takes; the reason is wanted always
    POST {"undo": version, "reason": "…"}
        everything as it was before that act, which has to be the newest
        200   in force: the room as it is now
        503   "applied": false: the store is away; it is on disk and will be applied when the store is back

Who may is looked at before anything else (access.py): without the token nothing is learnt, not even which rooms
there are.  Whatever is refused is logged and counted.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from gateway import config, logs
from gateway.board import Slot
from gateway.core import act
from gateway.errors import Refusal
from gateway.ops.access import Access
from gateway.ops.screen import Screen
from gateway.pacer import Pacer, Said, State

PATH: Final = "/api/rooms/{room}"
BODY_BYTES_MAX: Final = 16_384  # a message and a reason of 500 characters, however they are escaped, fit twice
_BODY_TIMEOUT_S: Final = 10.0
_RETRY_AFTER_S: Final = 5  # a pacer tries again each second


class RoomCalls:
    """The operator's calls; this gateway has one room, or none.

    Args:
        settings: those in force, as a reload may change them.
        pacer: None where no room is named: every room is unknown then.
        screen: hears what was refused.
    """

    def __init__(self, settings: Callable[[], config.Room], pacer: Pacer | None, access: Access, screen: Screen, slot: Slot) -> None:
        self._settings = settings
        self._pacer = pacer
        self._access = access
        self._screen = screen
        self._results = slot.counters_by("sluicegate_operator_acts_total")

    async def handle(self, request: web.Request) -> web.Response:
        """Any method on PATH.  Raises Refusal."""
        try:
            return await self._answer(request)
        except Refusal as refusal:
            if "applied" not in refusal.members:
                self.refused(request, refusal)
            raise

    def refused(self, request: web.Request, refusal: Refusal) -> None:
        """Count it, and log it."""
        self._results["refused"].add()
        if self._screen.refused(refusal.problem.code):
            logs.warning("an operator's call is refused", who=request.remote, call=f"{request.method} {request.path}", code=refusal.problem.code)

    async def _answer(self, request: web.Request) -> web.Response:
        (self._access.check if request.method == "GET" else self._access.check_act)(request)
        if request.method not in ("GET", "POST"):
            raise Refusal("method-not-allowed", "want GET, POST", headers=[("Allow", "GET, POST")])
        pacer = self._pacer
        if pacer is None or request.match_info["room"] != self._settings().name:
            raise Refusal("not-found", "no such room")
        if request.method == "GET":
            return self._shown(pacer.state)
        asked, who = self._asked(request, await body_of(request)), request.remote or "unknown"
        try:
            said = await (pacer.undo(asked, who) if isinstance(asked, act.Undo) else pacer.say(asked, who))
        except Exception as exc:
            logs.error("an operator's call failed", exc=exc)
            raise Refusal("internal", "an error that is ours; the act may be in force", members={"outcome": "unknown"}) from exc
        if isinstance(said, act.Fault):
            raise _invalid([said])
        self._results["applied" if said.is_applied else "kept"].add()
        return self._told(said, pacer.state)

    def _asked(self, request: web.Request, body: bytes) -> act.Change | act.Undo:
        if request.content_type != "application/json":
            raise Refusal("unsupported-media-type", "want Content-Type: application/json")
        try:
            asked = act.read(body, self._settings().floor_per_s, self._settings().ceiling_per_s)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Refusal("invalid-json", "want one JSON object in UTF-8") from exc
        if isinstance(asked, list):
            raise _invalid(asked)
        return asked

    def _shown(self, state: State) -> web.Response:
        if state.sign is None:
            raise Refusal("not-durable", "the room's store has not answered yet", retry_after_s=_RETRY_AFTER_S, members=_acts(state))
        return _json(self._summary(state))

    def _told(self, said: Said, state: State) -> web.Response:
        if not said.is_applied:
            kept = "is on disk" if said.is_kept else "is remembered, but not on disk,"
            detail = f"the room's store does not answer: the act {kept} and is applied when the store is back"
            raise Refusal("not-durable", detail, retry_after_s=_RETRY_AFTER_S, members=_acts(state) | {"applied": False, "kept": said.is_kept})
        return _json(self._summary(state) | {"kept": said.is_kept})

    def _summary(self, state: State) -> dict[str, object]:
        sign = state.sign
        assert sign is not None  # who has no sign is refused above, and who applied an act has one
        return {
            "room": self._settings().name,
            "epoch": self._settings().epoch,
            "state": sign.state,
            "rate_per_s": round(sign.pace.rate_per_s, 3),
            "reason": sign.pace.reason.value,
            "since": datetime.fromtimestamp(sign.pace.since_us / 1e6, tz=UTC).isoformat(timespec="milliseconds"),
            "head": sign.head,
            "tail": sign.tail,
            "waiting": sign.waiting,
            "called": sign.called,
            "passes": sign.passes,
            "consumer_lag": state.lag,
            "sign_age_ms": int(state.age_s * 1000),
            **_acts(state),
        }


def _acts(state: State) -> dict[str, object]:
    """What the operator said last, whether the store knows it or not yet."""
    is_applied = state.sign is not None and not state.is_away and state.sign.acts.version >= state.acts.version
    acts = state.acts
    said = {"message": acts.message, "told": acts.told_per_s, "paused": acts.is_paused, "closed": acts.is_closed}
    return {**said, "version": acts.version, "applied": is_applied}


def _invalid(faults: Sequence[act.Fault]) -> Refusal:
    return Refusal("invalid", "see errors", members={"errors": [fault._asdict() for fault in faults]})


async def body_of(request: web.Request) -> bytes:
    """All of it.  Raises Refusal: late, too large, or not framed."""
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise Refusal("request-timeout", "the body did not arrive in time") from None
    except web.HTTPRequestEntityTooLarge:
        raise Refusal("body-too-large", f"want at most {BODY_BYTES_MAX} bytes") from None
    except (web.HTTPException, web.RequestPayloadError, ValueError) as exc:
        raise Refusal("bad-request", "the body's framing is broken") from exc


def _json(members: dict[str, object]) -> web.Response:
    return web.Response(body=msgspec.json.encode(members), headers={"Content-Type": "application/json"})
