"""The generated files under docs/ and deploy/, and the generated parts of docs/api.md.

Decided here: which files these are and how the tables of docs/api.md look; the words come
from the tables they show.  docs/metrics.md is catalogue.py's, the dashboard grafana.py's.  docs/api.md is written by hand but for what stands
between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.core.event import Forge
from gateway.core.payload import Sample, Signup, Sync
from gateway.errors import PROBLEMS, SAMPLE_CODES
from gateway.openapi import SIGNUP, SIGNUP_RECEIPT, SYNC, SYNC_RECEIPT, SYNC_RECEIPT_RETRY, catalogue, grafana
from gateway.openapi.room import JOIN, JOINED
from gateway.openapi.schemas import EVENTS, LINES, Json, describe, event_schema

ROOT: Final = Path(__file__).parents[2]
EXAMPLE_USER: Final = "member-1"


def generated(root: Path = ROOT) -> dict[Path, str]:
    """What every generated file has to contain, by its path.

    Raises:
        ValueError: docs/api.md lacks one of the generated parts, or asks for one there is not.
    """
    docs = root / "docs"
    files = {docs / "schemas" / f"{name}.json": json.dumps(event_schema(name), indent=2, ensure_ascii=False) + "\n" for name in (*EVENTS, *LINES)}
    files[docs / "metrics.md"] = catalogue.page((root / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))
    files[root / "deploy/grafana/sluicegate.json"] = grafana.dashboard()
    files[docs / "api.md"] = fill((docs / "api.md").read_text(encoding="utf-8"), {name: part() for name, part in _PARTS.items()})
    return files


_PART: Final = re.compile(r"(?<=<!-- generated: )(?P<name>\S+)(?P<mark> -->\n).*?(?=<!-- end -->)", re.DOTALL)


def fill(page: str, parts: Mapping[str, str]) -> str:
    """The page with each marked part replaced; every part has to stand in it once."""
    names = sorted(found["name"] for found in _PART.finditer(page))
    if names != sorted(parts):
        raise ValueError(f"generated parts {names}: want {sorted(parts)}")
    return _PART.sub(lambda found: f"{found['name']}{found['mark']}\n{parts[found['name']]}\n\n", page)


# docs/api.md


def _curl(path: str, headers: Iterable[str], body: Json) -> str:
    lines = [f'curl -i "$GATEWAY{path}" \\']
    lines += [f'  -H "{header}" \\' for header in (*headers, "Content-Type: application/json")]
    return "\n".join(["```sh", *lines, f"  -d '{_text(body)}'", "```"])


def _answer(body: Json) -> str:
    return f"```json\n{_text(body)}\n```"


def _text(body: Json) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)


def _fields(type_: type[msgspec.Struct]) -> str:
    schemas = describe([type_], "{name}")
    return _table(("field", "bounds", "meaning"), _field_rows(schemas, type_.__name__, ""))


def _field_rows(schemas: Mapping[str, Json], name: str, prefix: str) -> Iterator[Sequence[str]]:
    schema = schemas[name]
    for field, of in schema["properties"].items():
        optional = "" if field in schema["required"] else " (optional)"
        below = of.get("$ref") or of.get("items", {}).get("$ref")
        yield f"`{prefix}{field}`{optional}", _bounds(of), of.get("description", "")
        if below:
            yield from _field_rows(schemas, below, f"{prefix}{field}{'[]' if 'items' in of else ''}.")


_FORMATS: Final = {"uuid": "UUID", "date": "`YYYY-MM-DD`, a real date", "date-time": "`YYYY-MM-DDThh:mm:ss+hh:mm`, also `Z` and fractions"}


def _bounds(schema: Json) -> str:
    """A schema's rules in a few words."""
    if "anyOf" in schema:
        return ", or ".join(_bounds(one) for one in schema["anyOf"])
    match schema.get("type"):
        case "integer":
            words = f"integer, {schema['minimum']:,} to {schema['maximum']:,}"
        case "array":
            words = f"array of {schema['minItems']} to {schema['maxItems']}"
        case "boolean":
            words = "`true`" if "const" in schema else "boolean"
        case "string":
            words = _string_bounds(schema)
        case kind:
            words = str(kind or "object")
    return words


def _string_bounds(schema: Json) -> str:
    if "format" in schema:
        return _FORMATS[schema["format"]]
    pattern = schema["pattern"]
    if "\\x00" in pattern:
        return f"string, {schema['minLength']} to {schema['maxLength']} characters, none of them a control"
    return f"string, `{pattern}`"


def _answers() -> str:
    """Every answer there is → what the app does.  The refusals' words are those of their pages."""
    fine = (
        ("200", "", "", "Use it, and keep it with its `ETag`."),
        ("201", "", "", "Keep the ticket, or use the pass within ten minutes."),
        ("202", "", "", "Done: forget the samples up to `ack_through`."),
        ("202, `retry` in `results`", "", "", "Forget the samples up to `ack_through`; send those marked `retry` again after `Retry-After` seconds."),
        ("204", "", "", "For browsers: the page may make this call."),
        ("303", "", "", "For browsers: the page is at `Location`."),
        ("304", "", "", "Use the copy you have."),
    )
    problems = sorted(PROBLEMS.values(), key=lambda problem: problem.status)
    refused = ((str(p.status), f"`{p.code}`", "yes" if p.retryable else "no", p.remedy) for p in problems)
    return _table(("answer", "`code`", "`retryable`", "what the app does"), (*fine, *refused))


def _sample_codes() -> str:
    return _table(("`code`", "meaning"), ((f"`{code}`", meaning) for code, meaning in SAMPLE_CODES.items()))


def _event_ids() -> str:
    forge = Forge("any")  # the worker's name is not in the id, nor is the time
    device = (SYNC["device_id"], SYNC["platform"], SYNC["app_version"])
    [sync] = forge.syncs(EXAMPLE_USER.encode(), device, [msgspec.convert(SYNC["samples"][0], Sample)], 0)
    signup = forge.signup(msgspec.convert(SIGNUP, Signup), 0)
    examples = (("first sync", sync), ("first sign-up", signup))
    return _table(("example", "key", "event id"), ((name, f"`{record.key.decode()}`", f"`{record.event_id}`") for name, record in examples))


_PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "first-sync": lambda: _curl("/v1/syncs", ("Authorization: Bearer $TOKEN",), SYNC),
    "first-sync-answer": lambda: _answer(SYNC_RECEIPT),
    "first-signup": lambda: _curl("/v1/signups", (), SIGNUP),
    "first-signup-answer": lambda: _answer(SIGNUP_RECEIPT),
    "first-join": lambda: _curl("/v1/rooms/signup/tickets", (), JOIN),
    "first-join-answer": lambda: _answer(JOINED),
    "partial-answer": lambda: _answer(SYNC_RECEIPT_RETRY),
    "sync-fields": lambda: _fields(Sync),
    "signup-fields": lambda: _fields(Signup),
    "answers": _answers,
    "sample-codes": _sample_codes,
    "event-ids": _event_ids,
}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
