"""docs/: what is generated is fresh, and what is written by hand says nothing that is not so."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from gateway.config import Config
from gateway.core.event import SCHEMA_NAMESPACE, SIGNUP_TYPE, SYNC_TYPE, Forge, Record, SyncEvent, replayed
from gateway.core.payload import Sample, Signup, SyncBody, read_signup, read_sync
from gateway.errors import PROBLEMS, SAMPLE_CODES
from gateway.openapi import SIGNUP, SYNC, openapi
from gateway.openapi.pages import EXAMPLE_USER, ROOT, fill, generated
from gateway.openapi.schemas import EVENTS, LINES
from tests.recipe import API, python_blocks
from tests.records import stored

RECEIVED_US = 1_769_519_405_000_000  # 2026-01-27T13:10:05Z
WRITE = "run `python -m gateway.openapi --write`"


def rows(page: str, width: int) -> list[list[str]]:
    """The cells of all rows of the page's tables that have so many columns, heads left out."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    found = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    heads = {index - 1 for index, cells in enumerate(found) if set(cells) == {"---"}}
    return [cells for index, cells in enumerate(found) if len(cells) == width and not {index, index - 1} & heads]


def records(**changes: object) -> list[Record]:
    """Real records: the first sync with one field changed, without its id, and the first sign-up."""
    sample = SYNC["samples"][0] | changes
    unnamed = {name: value for name, value in sample.items() if name != "id"}
    sync = read_sync(json.dumps(SYNC | {"samples": [sample, unnamed]}).encode())
    signup = read_signup(json.dumps(SIGNUP).encode())
    assert isinstance(sync, SyncBody)
    assert isinstance(signup, Signup)
    samples = [one for one in sync.samples if isinstance(one, Sample)]
    forge = Forge("w1")
    device = (sync.device_id, sync.platform, sync.app_version)
    return [*forge.syncs(EXAMPLE_USER.encode(), device, samples, RECEIVED_US), forge.signup(signup, RECEIVED_US)]


def schema_file(name: str) -> dict[str, Any]:
    """One of docs/schemas/, as consumers read it."""
    schema: dict[str, Any] = json.loads((ROOT / f"docs/schemas/{name}.json").read_text(encoding="utf-8"))
    return schema


def schema_for(record: Record) -> dict[str, Any]:
    """The file that the record's own header names."""
    return schema_file(dict(stored(record).headers)["ce_dataschema"].decode().removeprefix(SCHEMA_NAMESPACE))


@pytest.mark.parametrize(
    "path", [*(f"docs/schemas/{name}.json" for name in (*EVENTS, *LINES)), "docs/metrics.md", "docs/api.md", "deploy/grafana/sluicegate.json"]
)
def test_generated_files_are_fresh(path: str) -> None:
    """What is on disk is what the types and tables say now."""
    assert (ROOT / path).read_text(encoding="utf-8") == generated()[ROOT / path], WRITE


def test_a_page_without_one_of_its_parts_is_refused() -> None:
    """Else a table deleted by hand would never be missed."""
    with pytest.raises(ValueError, match="answers"):
        fill("<!-- generated: other -->\n<!-- end -->", {"answers": "", "other": ""})


# What Kafka gets


@pytest.mark.parametrize("steps", [0, 8123, 200_000])
def test_real_values_satisfy_their_schema(steps: int) -> None:
    """The very bytes of a record, and the schema its header names."""
    found = records(steps=steps, source='시계 "U+2028\u2028"', day="2026-13-45")
    for record in found:
        schema = schema_for(record)
        assert schema["$id"].encode() == dict(stored(record).headers)["ce_dataschema"]
        Draft202012Validator.check_schema(schema)
        value = json.loads(stored(record).value)
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(value)
        assert set(value) | {"id"} == set(schema["properties"]) | {"id"}
    assert {dict(stored(record).headers)["ce_dataschema"] for record in found} == {f"{SCHEMA_NAMESPACE}{name}".encode() for name in EVENTS}


@pytest.mark.parametrize("change", [{"steps": None}, {"steps": 1.5}, {"steps": "0"}, {"steps": -1}, {"id": None}, {"day": None}, {"steps": ...}])
def test_steps_that_are_no_number_are_no_value(change: dict[str, Any]) -> None:
    """Steps never turn into zero: absent (...) or null has no place in the topic."""
    value = json.loads(stored(records()[0]).value) | change
    value = {name: what for name, what in value.items() if what is not ...}
    with pytest.raises(ValidationError):
        Draft202012Validator(schema_file("sync-event-v1")).validate(value)


def test_a_sign_up_without_consent_is_no_value() -> None:
    """Both needed ones are true in Kafka."""
    for consent in ("terms", "health_data"):
        value = SIGNUP | {"consents": SIGNUP["consents"] | {consent: False}}
        assert not Draft202012Validator(schema_file("signup-event-v1")).is_valid(value)


def test_the_described_value_is_the_written_one() -> None:
    """SyncEvent describes bytes that the forge puts together without it."""
    assert list(json.loads(stored(records()[0]).value)) == list(SyncEvent.__struct_fields__)


def test_the_headers_named_are_the_headers_sent() -> None:
    """Each once; the marks where they are due."""
    marked = records(day="1999-01-01", recorded_at="2026-02-27T22:10:05+09:00")
    sent = {name for record in marked for name, _ in stored(replayed(record)).headers}
    section = API.partition("| header | value |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)
    assert sorted(named) == sorted(sent)
    assert all(f"`{text}`" in section for text in (SYNC_TYPE, SIGNUP_TYPE, "/v1/syncs", "/v1/signups"))


@pytest.mark.parametrize("changes", [{}, {"source": '시계 "é\\\u2028'}, {"recorded_at": "2026-01-27T13:10:05.120Z"}])
def test_the_recipe_makes_the_ids(changes: dict[str, object]) -> None:
    """From nothing but a record's key and value."""
    page = python_blocks()
    for record in records(**changes):
        recipe = page["signup_event_id" if b"signup_id" in stored(record).value else "sync_event_id"]
        assert recipe(record.key.decode(), json.loads(stored(record).value)) == record.event_id


def test_the_rule_for_steps_holds_in_any_order() -> None:
    """Late, repeated, reordered, in another time zone, from a clock that is ahead: the last truth stays."""
    page = python_blocks()
    value = json.loads(stored(records()[0]).value)
    last = value | {"steps": 9000, "seq": 42, "recorded_at": "2026-01-27T14:00:00Z"}
    ahead = value | {"steps": 5, "seq": 43, "recorded_at": "2030-01-01T00:00:00Z"}
    arrivals = [(value, {}), (last, {}), (ahead, {"clock_suspect": b"true"})]
    for order in (arrivals, arrivals[::-1], arrivals * 2):
        store: dict[Any, Any] = {}
        for arrived, headers in order:
            page["keep_steps"](store, EXAMPLE_USER, arrived, headers)
        assert [steps for _, steps in store.values()] == [9000]


def test_the_rule_for_sign_ups_holds_in_any_order() -> None:
    """The highest revision."""
    page = python_blocks()
    store: dict[str, Any] = {}
    for revision in (1, 3, 2, 3, 1):
        page["keep_signup"](store, SIGNUP | {"revision": revision})
    assert store[SIGNUP["signup_id"]]["revision"] == 3


# The page for those who write the app


def test_every_answer_has_its_row() -> None:
    """All codes of PROBLEMS with their status and whether they may be retried; and the answers that are no problem."""
    found = rows(API, 4)
    assert {(status, code.strip("`"), retryable) for status, code, retryable, _ in found if code} == {
        (str(p.status), p.code, "yes" if p.retryable else "no") for p in PROBLEMS.values()
    }
    assert [status for status, code, *_ in found if not code] == ["200", "201", "202", "202, `retry` in `results`", "204", "303", "304"]
    assert all(does for *_, does in found)


def test_every_code_and_route_is_there_and_every_one_named_exists() -> None:
    """Backquoted words with a hyphen are codes, or one of a few that are known not to be."""
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", API))
    known = set(PROBLEMS) | set(SAMPLE_CODES)
    assert named - known == {"content-type"}
    assert {code for code in known if f"`{code}`" not in API} == set()
    calls = {f"{method.upper()} {path}" for path, methods in openapi()["paths"].items() for method in methods}
    paths = {call.split()[1] for call in calls}
    assert {path for path in paths if path not in API} == set()
    assert set(re.findall(r"(?:GET|POST) (/[\w/{}.]+)", API)) <= paths
    written = {call.replace("/rooms/signup", "/rooms/{room}") for call in re.findall(r"/v1/[\w./{}]+", API)}
    assert written <= paths, written - paths


def test_the_first_calls_work_as_they_stand() -> None:
    """The bodies between curl's quotes decode, every sample of them."""
    bodies = re.findall(r"-d '(.*?)'", API, re.DOTALL)
    sync, signup = read_sync(bodies[0].encode()), read_signup(bodies[1].encode())
    assert isinstance(sync, SyncBody)
    assert all(isinstance(sample, Sample) for sample in sync.samples)
    assert isinstance(signup, Signup)


def test_the_bounds_named_are_the_defaults() -> None:
    """Numbers that are settings."""
    text, config = " ".join(API.split()), Config()
    assert f"at most {config.http.body_bytes_max:,} bytes" in text
    assert f"at most {config.http.gzip_ratio_max} times" in text
    assert f"takes up to {config.deliver.timeout_ms // 1000} seconds" in text
    assert f"up to {config.http.body_timeout_s:g} for a slow body" in text
    assert all(f"`{topic}`" in text for topic in (config.deliver.syncs_topic, config.deliver.signups_topic))
