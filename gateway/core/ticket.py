"""Tickets and passes: what people carry, so that nobody has to remember them.

Pure: no clock, no random, no I/O; keys and times come in.  Decided here: what such a text says and
whether it is ours.  Not decided here: whether a place may pass (waiting.py), who is revoked (the
sign's list), what is answered in HTTP.  Units: µs since the epoch; a slot is of the door's clock.

    byte  0      1     3        9         17        25        33             48
          | kind | key | room   | epoch   | who     | when    | MAC           |       integers big-endian

    kind  0x10  ticket             who = place       when = joined
          0x11  provisional        who = join hash   when = joined
          0x12  pass               who = place       when = slot + 10 min, its expiry
          0x13  pass, provisional  who = join hash   when = slot + 10 min
          The high half is the version of this form.
    key   which key signed: BLAKE2b-2 of its kid
    room  BLAKE2b-6 of its name
    MAC   BLAKE2b-15 of all before it, keyed by the label of the kind: "ticket" or "pass"
    text  base64url: 48 bytes are always 64 characters, without padding or spare bits, so each
          thing has exactly one text

    EERhh7fId50bAAAAAGlHJgAAAAAAAAASZwAGRnDEERgA36Vnn3hnvfpE_6cj8wUh    a ticket: room signup, place 4,711

Neither can be made into the other: the labels give them different keys, and the kind is below the
MAC.  A pass is a function of what it says: any worker makes the same one for a repeat or after a
crash, as long as the same key comes first.  So count and limit passes by `Pass.name` and expiry,
not by their text.

Two keys live; the first signs, both are read.  To change: add the new one behind, everywhere; put it
in front, everywhere; take the old one away when the line of its time has ended, for tickets are not
renewed.  The join hash has a secret of its own that stays: else a repeated join would get another place.

What a thief can do.  With a ticket: look, knock, and have the pass, which is the same one its owner
has; the first sign-up owns that.  With a pass: that one sign-up within ten minutes, or use up its
tries.  With a join id: have the ticket.  Nobody's name is in any of them, and none can be changed
into another place.  A list in the sign revokes places.  With a key: everything, so then rotate at once.

Expiry is judged by the reader's clock and the slot is of the door's: a reader whose clock is ahead
takes that much of the ten minutes.  There is no "not yet": a pass is only given out at its slot.
"""

import struct
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from enum import Enum
from hashlib import blake2b
from hmac import compare_digest
from typing import Final, NamedTuple
from uuid import UUID

from gateway.core.seal import keyed, unspelt

PASS_US: Final = 600_000_000  # a form takes one to three minutes; ten leave time to ask somebody
TEXT_CHARS: Final = 64
JOIN_BYTES: Final = 8  # in one line of a million out of 37 million two joins meet; 16 would double the join map
KEYS_MAX: Final = 2  # the one that signs and the one it replaced
KNOWN_MAX: Final = 32_768  # tickets read before, 0.35 kB each: the line of 18 December had 5,227
SECRET_BYTES_MIN: Final = 32  # as gateway/keys.py asks of tokens

_FORM: Final = struct.Struct(">BH6sQQQ")
_MAC_BYTES: Final = 15  # 120 bits: 16 would cost a character and padding
_TICKET, _TICKET_PROVISIONAL, _PASS, _PASS_PROVISIONAL = range(0x10, 0x14)
_TICKETS: Final = (_TICKET, _TICKET_PROVISIONAL)
_PASSES: Final = (_PASS, _PASS_PROVISIONAL)
_KINDS: Final = (*_TICKETS, *_PASSES)


class Flaw(Enum):
    """Why a text is refused.  Only CUT, FORGED and UNKNOWN_KEY are said of what we may not have made."""

    CUT = "cut"  # too short: a part of one
    FORGED = "forged"  # not ours, or changed since
    UNKNOWN_KEY = "unknown-key"  # its key was retired, has not arrived here, or never was
    TICKET_AS_PASS = "ticket-as-pass"  # noqa: S105 - a name
    PASS_AS_TICKET = "pass-as-ticket"  # noqa: S105
    ROOM = "room"  # of another room
    EPOCH = "epoch"  # of another line of this room
    EXPIRED = "expired"


class Ticket(NamedTuple):
    """A place in the line."""

    place: int
    joined_us: int


class Provisional(NamedTuple):
    """A join that has no place yet: the store was away.  Booked later, in the order of `joined_us`."""

    join: bytes
    joined_us: int


class Pass(NamedTuple):
    """The right to sign up, until it expires."""

    holder: int | bytes  # a place; a join hash, where a provisional ticket went through
    expires_us: int

    @property
    def name(self) -> str:
        """The holder as Kafka's keys have it, behind `room:epoch:`."""
        return f"j{self.holder.hex()}" if isinstance(self.holder, bytes) else str(self.holder)


class Key:
    """One key of the keys file's `tickets`.  Its repr shows no secret.

    Raises:
        ValueError: the secret is shorter than SECRET_BYTES_MIN.
    """

    __slots__ = ("_pass", "_ticket", "kid", "tag")

    def __init__(self, kid: str, secret: bytes) -> None:
        if len(secret) < SECRET_BYTES_MIN:
            raise ValueError(f"tickets kid {kid}: {len(secret)} bytes: want at least {SECRET_BYTES_MIN}")
        self.kid = kid
        self.tag = int.from_bytes(blake2b(kid.encode(), digest_size=2).digest(), "big")
        self._ticket = keyed(secret, b"ticket", _MAC_BYTES)
        self._pass = keyed(secret, b"pass", _MAC_BYTES)

    def __repr__(self) -> str:
        return f"Key({self.kid}, ***)"

    def mac(self, kind: int, body: bytes) -> bytes:
        """Of a body of this kind."""
        state = (self._pass if kind in _PASSES else self._ticket).copy()
        state.update(body)
        return state.digest()


class Office:
    """Makes and reads what belongs to one room and epoch.

    Args:
        keys: the first one signs, all are read.
        join_secret: keys the join hashes, the same in all gateways for as long as the epoch lasts.

    Raises:
        ValueError: no key, more than KEYS_MAX, two that cannot be told apart, a short secret.
    """

    def __init__(self, room: str, epoch: int, keys: Sequence[Key], join_secret: bytes) -> None:
        assert 0 <= epoch < 2**63, epoch  # an operator's act gives it; Redis counts no further
        kids = ", ".join(key.kid for key in keys)
        if not 1 <= len(keys) <= KEYS_MAX:
            raise ValueError(f"{len(keys)} keys under `tickets` ({kids}): want 1 or {KEYS_MAX}")
        if len({key.tag for key in keys}) < len(keys):
            raise ValueError(f"kids under `tickets` ({kids}): want two that differ in their hash: rename the new one")
        if len(join_secret) < SECRET_BYTES_MIN:
            raise ValueError(f"join secret: {len(join_secret)} bytes: want at least {SECRET_BYTES_MIN}")
        self._signing = keys[0]
        self._keys = {key.tag: key for key in keys}
        self._room = blake2b(room.encode(), digest_size=6).digest()
        self._epoch = epoch
        self._known: dict[str, Ticket] = {}  # genuine ones alone: what is forged is forged each time
        self._join = keyed(join_secret, b"join", JOIN_BYTES)
        self._join.update(self._room + epoch.to_bytes(8, "big"))

    def join_hash(self, join_id: UUID) -> bytes:
        """What is kept of a join id, which is kept like a password: nobody can go back from it, nor from room to room."""
        state = self._join.copy()
        state.update(join_id.bytes)
        return state.digest()

    # Made

    def ticket(self, place: int, joined_us: int) -> str:
        """For someone who has a place."""
        return self._signed(_TICKET, place, joined_us)

    def provisional(self, join: bytes, joined_us: int) -> str:
        """For someone who has none yet.  Args: join: of `join_hash`."""
        return self._signed(_TICKET_PROVISIONAL, _number(join), joined_us)

    def pass_for(self, holder: int | bytes, slot_us: int) -> str:
        """The pass of this holder and slot.  Args: holder: a place, or a join hash."""
        if isinstance(holder, bytes):
            return self._signed(_PASS_PROVISIONAL, _number(holder), slot_us + PASS_US)
        return self._signed(_PASS, holder, slot_us + PASS_US)

    def _signed(self, kind: int, who: int, when_us: int) -> str:
        body = _FORM.pack(kind, self._signing.tag, self._room, self._epoch, who, when_us)
        return urlsafe_b64encode(body + self._signing.mac(kind, body)).decode()

    # Read

    def read_ticket(self, text: str) -> Ticket | Provisional | Flaw:
        """What the ticket says, or why it is none of this room and epoch."""
        known = self._known.get(text)
        if known is not None:
            return known  # it says the same for ever: a place is asked for every few seconds with the same one
        found = self._opened(text, _TICKETS)
        if isinstance(found, Flaw):
            return found
        kind, who, joined_us = found
        if kind != _TICKET:
            return Provisional(who.to_bytes(JOIN_BYTES, "big"), joined_us)
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        ticket = self._known[text] = Ticket(who, joined_us)
        return ticket

    def read_pass(self, text: str, now_us: int) -> Pass | Flaw:
        """What the pass says, or why it opens nothing now."""
        found = self._opened(text, _PASSES)
        if isinstance(found, Flaw):
            return found
        kind, who, expires_us = found
        if now_us >= expires_us:
            return Flaw.EXPIRED
        return Pass(who if kind == _PASS else who.to_bytes(JOIN_BYTES, "big"), expires_us)

    def _opened(self, text: str, kinds: tuple[int, ...]) -> tuple[int, int, int] | Flaw:
        """(kind, who, when) of one of these kinds, of this room and epoch."""
        found = self._genuine(text)
        if isinstance(found, Flaw):
            return found
        kind, room, epoch, who, when_us = found
        if kind not in kinds:
            return Flaw.TICKET_AS_PASS if kind in _TICKETS else Flaw.PASS_AS_TICKET
        if room != self._room:
            return Flaw.ROOM
        if epoch != self._epoch:
            return Flaw.EPOCH
        return kind, who, when_us

    def _genuine(self, text: str) -> tuple[int, bytes, int, int, int] | Flaw:
        """(kind, room, epoch, who, when) as one of our keys signed it.  Before its MAC only what names that key is looked at."""
        if len(text) < TEXT_CHARS:
            return Flaw.CUT
        sealed = unspelt(text, TEXT_CHARS)
        if sealed is None:
            return Flaw.FORGED
        body = sealed[:-_MAC_BYTES]
        kind, tag, room, epoch, who, when_us = _FORM.unpack(body)
        if kind not in _KINDS:
            return Flaw.FORGED  # of a later version, perhaps: its MAC may mean something else
        if (key := self._keys.get(tag)) is None:
            return Flaw.UNKNOWN_KEY
        if not compare_digest(key.mac(kind, body), sealed[-_MAC_BYTES:]):
            return Flaw.FORGED
        return kind, room, epoch, who, when_us


def _number(join: bytes) -> int:
    assert len(join) == JOIN_BYTES, len(join)
    return int.from_bytes(join, "big")
