"""The waiting room in a browser: one page, which works without JavaScript.

Decided here: what a form does and which cookies there are; how the page looks is pages/.

    GET  /rooms/{room}               looks
    POST /rooms/{room}  act=join     a place, in a cookie → 303
                        act=enter    knocks: the pass, in a cookie → 303; or the page again, which says when

Whom a closed room gives no place is shown that on the page, as an answer that is none of trouble: some proxies put a
page of their own over a 503.

Cookies are `__Host-` ones (Secure, no Domain), HttpOnly, SameSite=Lax: another site's form brings none, and what
it asks is not done but shown: 303 to the page, where this browser's own place is.
"""

import secrets
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs
from uuid import UUID

from aiohttp import web

from gateway.body import Bodies
from gateway.core.place import Answer as Told
from gateway.core.sign import PASS_S
from gateway.core.ticket import Flaw, Provisional, Ticket
from gateway.errors import Refusal
from gateway.pages.waiting import View, headers, page
from gateway.pages.words import language
from gateway.reply import Answer, Replies
from gateway.room import NoEntry, Wait
from gateway.rooms import TICKET_S, Rooms, cookie

_OWN_SITES: Final = frozenset({"same-origin", "none"})  # none: typed, or from a bookmark; browsers before 2023 may not say
_FORM_BYTES_MAX: Final = 1_024
_FIELDS_MAX: Final = 10  # the page has one
_FULL_RETRY_S: Final = 60  # a line of millions does not shrink sooner
_UUID4: Final = 4


class Browser:
    """The page of one room in one worker."""

    def __init__(self, rooms: Rooms, replies: Replies, bodies: Bodies) -> None:
        self._rooms = rooms
        self._replies = replies
        self._bodies = bodies
        name = rooms.room.settings.name
        self.path = f"/rooms/{name}"
        self._pass_cookie = f"__Host-pass-{name}"

    async def page(self, request: web.BaseRequest) -> Answer:
        """Look, join or knock."""
        if request.method != "POST":
            return await self._look(request)
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in _OWN_SITES:
            # Another site's form: it brings no cookie, so a join would put another place over the one this browser has.
            return self._replies.elsewhere(self.path, ())
        act = await self._act(request)
        if act == "join":
            return await self._join(request)
        return await self._enter(request)

    async def _join(self, request: web.BaseRequest) -> Answer:
        if self._ticket(request) is not None:
            return self._replies.elsewhere(self.path, ())  # joined already, in another tab
        # The ticket is what this browser keeps, so nobody needs its join id again.
        join_id = UUID(bytes=secrets.token_bytes(16), version=_UUID4)

        async def join() -> bytes:
            return self._rooms.room.office.join_hash(join_id)

        came = await self._rooms.admitted(self._rooms.asker(request), 0, join)
        if came is NoEntry.CLOSED:
            return self._shown(self._blank(request, "shut"))
        if isinstance(came, NoEntry):
            return self._shown(self._blank(request, "full"), 503, [("Retry-After", str(_FULL_RETRY_S))])
        cookies = [cookie(self._rooms.cookie, self._rooms.ticket_text(came.ticket), TICKET_S)]
        through = await self._rooms.room.enter(came)
        if through is not None:
            cookies.append(cookie(self._pass_cookie, through.pass_text, PASS_S))
        return self._replies.elsewhere(self.path, cookies)

    async def _enter(self, request: web.BaseRequest) -> Answer:
        ticket = self._ticket(request)
        if ticket is None:
            return self._replies.elsewhere(self.path, ())
        answer = await self._rooms.room.knock(ticket)
        if not isinstance(answer, Wait):
            return self._replies.elsewhere(self.path, [cookie(self._pass_cookie, answer.pass_text, PASS_S)])
        view = self._waiting(request, answer.answer)
        state = "busy" if view.state == "called" else view.state
        return self._shown(view._replace(state=state, next_s=answer.retry_after_s), 429, [("Retry-After", str(answer.retry_after_s))])

    # What is seen

    async def _look(self, request: web.BaseRequest) -> Answer:
        ticket = self._ticket(request)
        if ticket is None:
            return self._shown(self._blank(request, "shut" if self._rooms.room.sign.state == "closed" else "outside"))
        now_us = self._rooms.room.now_us()
        text = self._rooms.cookie_text(request, self._pass_cookie)
        if text and not isinstance(self._rooms.room.office.read_pass(text, now_us), Flaw):
            return self._shown(self._blank(request, "through")._replace(pass_text=text, continue_url=self._rooms.room.settings.continue_url))
        if isinstance(ticket, Ticket):
            return self._shown(self._waiting(request, self._rooms.room.look(ticket)))
        ticket = await self._rooms.room.placed(ticket)
        told = self._rooms.room.look(ticket) if isinstance(ticket, Ticket) else None
        return self._shown(self._waiting(request, told), 200, self._rooms.kept(request, ticket))

    def _waiting(self, request: web.BaseRequest, told: Told | None) -> View:
        if told is None:
            return self._blank(request, "provisional")._replace(next_s=5)
        # Without JavaScript the page must neither knock by itself nor go away under a finger on "Enter".
        next_s = max(1, round(told.poll_after_s)) if told.state != "called" else 0
        return self._blank(request, told.state)._replace(ahead=told.ahead, p50_s=told.p50_s, p90_s=told.p90_s, next_s=next_s, reason=self._rooms.room.slowed_by)

    def _blank(self, request: web.BaseRequest, state: str) -> View:
        settings = self._rooms.room.settings
        lang = language(request.headers.get("Accept-Language", ""))
        title = (settings.title_ko if lang == "ko" else settings.title) or settings.title or settings.name
        return View(settings.name, title, lang, state, message=self._rooms.room.sign.acts.message)  # type: ignore[arg-type]  # told.state is one of them

    def _shown(self, view: View, status: int = 200, more: Sequence[tuple[str, str]] = ()) -> Answer:
        return self._replies.page(page(view), [*headers(view), *more], status)

    # What came

    async def _act(self, request: web.BaseRequest) -> str:
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise Refusal("unsupported-media-type", "want the page's form")
        body = await self._bodies.small(request, _FORM_BYTES_MAX)
        try:
            acts = parse_qs(body.decode("ascii", "replace"), max_num_fields=_FIELDS_MAX).get("act", [""])
        except ValueError:  # more fields
            acts = [""]
        if acts[0] not in ("join", "enter"):
            raise Refusal("invalid", "1 field to mend", members={"errors": [{"pointer": "/act", "detail": "want join or enter"}]})
        return acts[0]

    def _ticket(self, request: web.BaseRequest) -> Ticket | Provisional | None:
        """The cookie's; one of another day or room is as good as none."""
        text = self._rooms.cookie_text(request, self._rooms.cookie)
        found = self._rooms.room.office.read_ticket(text) if text else Flaw.CUT
        return None if isinstance(found, Flaw) or self._rooms.is_revoked(found) else found
