"""What an operator asks of a room: bytes → a change or an undo, or the pointers of what is wrong; the last acts → the next.

Pure: no clock, no disk; `now_us` comes in.  A field that is absent stays as it is; `rate_per_s` null
means: as downstream takes.  A rate outside floor and ceiling is refused rather than bent: who says 5,000
and gets 1,000 would learn it from the line.

An undo names the act that is taken back by its version, and only the newest can be: who undoes what they see must
not hit what another said since.  It is an act itself, so the undo of an undo does it again.

Two operators, or two machines, are put in order by the version: µs since the epoch, and always more than
the newest that is known.  Of two acts the larger version wins, wherever both are known.
"""

from typing import Final, Literal, NamedTuple

import msgspec

from gateway.core.sign import Acts

TEXT_MAX: Final = 500  # characters: a message is read on a phone, a reason in a list
_CHANGES: Final = ("rate_per_s", "paused", "closed", "message")
_FIELDS: Final = (*_CHANGES, "undo", "reason")


class Fault(NamedTuple):
    """What is wrong with one field."""

    pointer: str
    detail: str


class Change(NamedTuple):
    """What is to become of it; `"kept"`: as it is."""

    reason: str
    rate_per_s: float | Literal["kept"] | None = "kept"
    paused: bool | Literal["kept"] = "kept"
    message: str | None = None  # None: kept; "" takes it away
    closed: bool | Literal["kept"] = "kept"


class Undo(NamedTuple):
    """Everything as it was before the act with this version."""

    reason: str
    version: int


def read(body: bytes, floor_per_s: float, ceiling_per_s: float) -> Change | Undo | list[Fault]:
    """What is asked for, or all that is wrong with it.  Raises msgspec.DecodeError where it is not JSON."""
    asked = msgspec.json.decode(body)
    if not isinstance(asked, dict):
        return [Fault("", "want an object")]
    # Of a name that is not ours a hundred characters come back: enough to find it.
    faults = [Fault(f"/{_escaped(name[:100])}", "want no such field") for name in asked if name not in _FIELDS]
    faults += _faults(asked, floor_per_s, ceiling_per_s)
    if not asked.keys() & {*_CHANGES, "undo"} and not faults:
        faults = [Fault("", "want rate_per_s, paused, closed, message or undo")]
    if faults:
        return faults
    if "undo" in asked:
        return Undo(asked["reason"], asked["undo"])
    rate_per_s = asked.get("rate_per_s", "kept")
    if isinstance(rate_per_s, int):
        rate_per_s = float(rate_per_s)
    return Change(asked["reason"], rate_per_s, asked.get("paused", "kept"), asked.get("message"), asked.get("closed", "kept"))


def acted(last: Acts, change: Change, now_us: int) -> Acts:
    """All that is in force from now on."""
    return Acts(
        max(now_us, last.version + 1),
        last.is_paused if change.paused == "kept" else change.paused,
        last.told_per_s if change.rate_per_s == "kept" else change.rate_per_s,
        last.message if change.message is None else change.message,
        last.is_closed if change.closed == "kept" else change.closed,
    )


def undone(last: Acts, before: Acts | None, undo: Undo, now_us: int) -> Acts | Fault:
    """All that is in force from now on, or why this act cannot be taken back.

    Args:
        before: what was in force before the last act; None: not known here.
    """
    if undo.version != last.version:
        return Fault("/undo", f"want {last.version}, the newest act: only that one can be undone")
    if before is None:
        return Fault("/undo", f"want an act of which is known what was before it: of {last.version}, the newest, it is not")
    return before._replace(version=max(now_us, last.version + 1))


def differences(before: Acts, after: Acts) -> dict[str, tuple[object, object]]:
    """What changed: name → (from, to), the version aside."""
    names = ("is_paused", "is_closed", "told_per_s", "message")
    return {name: (getattr(before, name), getattr(after, name)) for name in names if getattr(before, name) != getattr(after, name)}


def _faults(asked: dict[str, object], floor_per_s: float, ceiling_per_s: float) -> list[Fault]:
    faults = []
    rate_per_s = asked.get("rate_per_s")
    # bool is an int to Python, and no rate to anybody.
    is_rate = isinstance(rate_per_s, int | float) and not isinstance(rate_per_s, bool) and floor_per_s <= rate_per_s <= ceiling_per_s
    if rate_per_s is not None and not is_rate:
        faults.append(Fault("/rate_per_s", f"want a number from {floor_per_s:g} to {ceiling_per_s:g}, or null"))
    faults += [Fault(f"/{name}", "want true or false") for name in ("paused", "closed") if not isinstance(asked.get(name, False), bool)]
    if not _is_text(asked.get("message", "")):
        faults.append(Fault("/message", f"want text of at most {TEXT_MAX} characters, none of them a control"))
    version = asked.get("undo", 0)
    if not isinstance(version, int) or isinstance(version, bool):
        faults.append(Fault("/undo", "want the version of the newest act"))
    elif "undo" in asked and asked.keys() & set(_CHANGES):
        faults.append(Fault("/undo", "want it alone, with a reason: nothing else is said with it"))
    reason = asked.get("reason", "")
    if not (isinstance(reason, str) and reason.strip() and _is_text(reason)):
        faults.append(Fault("/reason", f"want text of 1 to {TEXT_MAX} characters, none of them a control"))
    return faults


def _is_text(value: object) -> bool:
    # C0 and C1 controls move cursors in the terminals of those who read the audit; bidi and the like are people's own.
    return isinstance(value, str) and len(value) <= TEXT_MAX and not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in value)


def _escaped(name: str) -> str:
    """A name within a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
