"""GET and POST /api/rooms/{room} on the operators' port: see the room, and say what it is to do.

Decided here: who may ask (whoever has the token of the keys file, for the answers tell of people and the
calls open doors), and how it looks.  What may be asked is decided in core/act.py, what becomes of it in pacer.py.

    POST {"rate_per_s": 50 | null, "paused": bool, "closed": bool, "message": "…", "reason": "…"}
        what is absent stays; null: as downstream takes; the reason is wanted always
    POST {"undo": version, "reason": "…"}
        everything as it was before that act, which has to be the newest
        200   in force: the room as it is now
        503   "applied": false: the store is away; it is on disk and will be applied when the store is back

Refusals are problem+json, the token looked at before anything else: without it nothing is learnt, not even
which rooms there are.  A form on somebody's page cannot call: it can send neither the header nor this content type.
"""

import asyncio
import hmac
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from gateway import config, logs
from gateway.core import act
from gateway.errors import Refusal
from gateway.pacer import Pacer, Said, State
from gateway.reply import PROBLEM_JSON, problem_json

PATH: Final = "/api/rooms/{room}"
BODY_BYTES_MAX: Final = 16_384  # a message and a reason of 500 characters, however they are escaped, fit twice
_BODY_TIMEOUT_S: Final = 10.0
_SCHEME: Final = "bearer"
_CHALLENGE: Final = [("WWW-Authenticate", "Bearer")]
_RETRY_AFTER_S: Final = 5  # a pacer tries again each second


class RoomCalls:
    """The operator's calls; this gateway has one room, or none.

    Args:
        settings: those in force, as a reload may change them.
        pacer: None where no room is named: every room is unknown then.
        token: the one in force, as a reload may change it; "" lets nobody in.
    """

    def __init__(self, settings: Callable[[], config.Room], pacer: Pacer | None, token: Callable[[], str]) -> None:
        self._settings = settings
        self._pacer = pacer
        self._token = token

    async def handle(self, request: web.Request) -> web.Response:
        """Any method on PATH."""
        try:
            return await self._answer(request)
        except Refusal as refusal:
            headers = {"Content-Type": PROBLEM_JSON, **dict(refusal.headers)}
            if refusal.retry_after_s is not None:
                headers["Retry-After"] = str(refusal.retry_after_s)
            return web.Response(status=refusal.problem.status, body=problem_json(refusal), headers=headers)

    async def _answer(self, request: web.Request) -> web.Response:
        self._check_token(request)
        if request.method not in ("GET", "POST"):
            raise Refusal("method-not-allowed", "want GET, POST", headers=[("Allow", "GET, POST")])
        pacer = self._pacer
        if pacer is None or request.match_info["room"] != self._settings().name:
            raise Refusal("not-found", "no such room")
        if request.method == "GET":
            return self._shown(pacer.state)
        asked, who = self._asked(request, await _body(request)), request.remote or "unknown"
        try:
            said = await (pacer.undo(asked, who) if isinstance(asked, act.Undo) else pacer.say(asked, who))
        except Exception as exc:
            logs.error("an operator's call failed", exc=exc)
            raise Refusal("internal", "an error that is ours; the act may be in force", members={"outcome": "unknown"}) from exc
        if isinstance(said, act.Fault):
            raise _invalid([said])
        return self._told(said, pacer.state)

    def _check_token(self, request: web.Request) -> None:
        token = self._token()
        if not token:
            raise Refusal("token-invalid", "the keys file of this gateway has no `ops` token: nobody may", headers=_CHALLENGE)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != _SCHEME or not given.strip():
            raise Refusal("token-missing", "want Authorization: Bearer with the operators' token", headers=_CHALLENGE)
        # Bytes: of text only ASCII can be compared in constant time, and a header may hold anything.
        if not hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode()):
            logs.warning("an operator's call with a wrong token", who=request.remote)
            raise Refusal("token-invalid", "this is not the operators' token", headers=_CHALLENGE)

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


async def _body(request: web.Request) -> bytes:
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
