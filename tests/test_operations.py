"""docs/operations.md: what it names exists, and nothing that may wake somebody is missing from it."""

import argparse
import ast
import re
from pathlib import Path

import msgspec
import pytest

from gateway.__main__ import _parser
from gateway.config import ROOM_RELOADED, Config
from gateway.core.light import REASONS
from gateway.core.sign import PASS_S
from gateway.core.ticket import KEYS_MAX
from gateway.errors import PROBLEMS
from gateway.metrics import CATALOGUE
from gateway.openapi.pages import ROOT
from gateway.ops.access import SESSION_S
from gateway.ops.history import SECONDS_KEPT, TENS_KEPT
from gateway.ops.rooms import BODY_BYTES_MAX
from gateway.ops.status import BOTTLENECKS
from gateway.ops.stream import VIEWERS_MAX
from gateway.room import MARGIN
from gateway.spool.key import KEY_FILE
from tests.test_docs import rows

PATH = ROOT / "docs/operations.md"
PAGE = PATH.read_text(encoding="utf-8")
ALERTS = ROOT / "deploy/prometheus/alerts.yml"


def section(heading: str) -> str:
    """The text below a heading, up to the next of its rank or above."""
    rank = len(heading) - len(heading.lstrip("#"))
    return re.split(rf"^#{{2,{rank}}} ", PAGE.partition(f"\n{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def coded(text: str, width: int) -> list[list[str]]:
    """Rows whose first cell is a code, without its quotes."""
    return [[cells[0].strip("`"), *cells[1:]] for cells in rows(text, width) if re.fullmatch(r"`[a-z-]+`", cells[0])]


def anchors(text: str) -> set[str]:
    """What a link within a page may point at, as GitHub names it."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def raised_by_the_ops_port() -> set[str]:
    """The codes of all refusals that its modules make."""
    calls = [node for path in sorted((ROOT / "gateway/ops").glob("*.py")) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    made = [node.args[0] for node in calls if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal"]
    return {code.value for code in made if isinstance(code, ast.Constant) and isinstance(code.value, str)}


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Its subcommands; the supervisor's own are not for people."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: sub for action in found for name, sub in action.choices.items() if name != "worker"}


def test_every_alert_has_its_part_of_the_runbook() -> None:
    """Under exactly its name, where its runbook_url points; no part is of an alert that is gone."""
    text = ALERTS.read_text(encoding="utf-8")
    alerts = re.findall(r"^\s*- alert: (\w+)$", text, re.MULTILINE)
    assert alerts
    assert sorted(re.findall(r"^### (Sluicegate\w+)$", PAGE, re.MULTILINE)) == sorted(alerts)
    assert re.findall(r"runbook_url: \S*?docs/operations\.md#(\w+)", text) == [name.lower() for name in alerts]


def test_every_alert_says_what_is_seen_what_happens_and_what_to_do() -> None:
    """And whether it wakes somebody, as the rule does."""
    text = ALERTS.read_text(encoding="utf-8")
    severities = dict(re.findall(r"- alert: (\w+)\n.*?severity: (\w+)", text, re.DOTALL))
    assert severities
    for name, severity in severities.items():
        part = section(f"### {name}")
        assert part.strip().startswith(f"{severity}: "), name
        assert all(f"**{word}**" in part for word in ("You see", "By itself", "You do")), name


def test_every_light_has_its_row_in_its_colour() -> None:
    """All of core/light.py, each once."""
    found = coded(section("### Lights"), 4)
    assert sorted((code, colour) for code, colour, *_ in found) == sorted((reason.code, reason.colour.name.lower()) for reason in REASONS)
    assert all(means and does for *_, means, does in found)


def test_every_bottleneck_has_its_row_in_the_order_it_is_asked() -> None:
    """The first that holds is what the screen says."""
    found = coded(section("### The bottleneck"), 3)
    assert [code for code, *_ in found] == list(BOTTLENECKS)
    assert all(does for *_, does in found)


def test_every_refusal_of_the_ops_port_has_its_row() -> None:
    """With its status."""
    found = coded(PAGE.partition("| code | status | because |")[2].partition("\n\n")[0], 3)
    assert {(code, status) for code, status, _ in found} == {(code, str(PROBLEMS[code].status)) for code in raised_by_the_ops_port()}


def test_every_command_is_there_and_every_one_named_exists() -> None:
    """`sluicegate …` and `sluicegate room …`, with options that they take."""
    commands = commands_of(_parser())
    acts = commands_of(commands["room"])
    said = re.findall(r"(?:^ *|`)sluicegate (.*?)(?:`|  +#|$)", PAGE, re.MULTILINE)
    named = {line.split()[0] for line in said}
    assert {name for name in named if not name.startswith("--")} == set(commands)
    acted = [(words[1], line) for line in said if (words := line.split())[0] == "room" and words[1].isalpha()]
    assert {act for act, _ in acted} == set(acts)
    for act, line in acted:
        assert set(re.findall(r" (--[a-z]+)", line)) <= set(acts[act]._option_string_actions), line


def test_every_metric_named_exists() -> None:
    """What they mean stands in docs/metrics.md."""
    named = set(re.findall(r"\bsluicegate_[a-z_]+\b", PAGE))
    assert named
    assert named - {metric.name for metric in CATALOGUE} == set()


def test_every_setting_named_exists() -> None:
    """`section.name` between backquotes; a file's name is none."""
    sections = msgspec.to_builtins(Config())
    named = {(part, name) for part, name in re.findall(r"`([a-z]+)\.([a-z_]+)`", PAGE) if part in sections and f"{part}.{name}" != KEY_FILE}
    assert named
    assert {(part, name) for part, name in named if name not in sections[part]} == set()


def test_what_a_reload_reads_is_what_is_named() -> None:
    """An operator who changes anything else waits for it in vain."""
    said = section("### A reload").partition("of the room ")[2].partition(". **")[0]
    assert re.findall(r"`(\w+)`", said) == list(ROOM_RELOADED)


def test_every_line_of_the_log_named_is_written() -> None:
    """Who greps for it finds it; the pacer's outages are put together of what and how."""
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "gateway").rglob("*.py")))
    named = set(re.findall(r'log: "([^"]+)"', PAGE))
    assert named
    assert {line for line in named if f'"{line}"' not in source and f'"{line.removesuffix(" is away")}"' not in source} == set()


def test_every_link_leads_somewhere() -> None:
    """To a heading of this page, or a file, or a heading of that."""
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, anchor = target.partition("#")
        path = (PATH.parent / file).resolve() if file else PATH
        assert path.is_file(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target


def test_every_target_of_make_named_exists() -> None:
    """make X, with or without its SCENARIO."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", PAGE, re.MULTILINE)) - targets == set()


@pytest.mark.parametrize("figure", ["8,270", "2,195", "109,750 events/s", "16.4 MB", "0.8 MB", "196,000", "0.67", "96 bytes", "92,000"])
def test_the_figures_are_those_that_were_measured(figure: str) -> None:
    """In the page and where it says it has them from."""
    sources = [Path("README.md"), Path("loadtests/capacity.py")]
    assert figure in section("## 5. Sizing")
    assert any(figure in (ROOT / path).read_text(encoding="utf-8") for path in sources)


def test_the_bounds_named_are_the_defaults() -> None:
    """Numbers that are settings or constants."""
    config = Config()
    minutes, hours = PASS_S // 60, SESSION_S // 3_600
    kept_h = (SECONDS_KEPT + 10 * TENS_KEPT) // 3_600
    assert (minutes, hours, kept_h, KEYS_MAX, BODY_BYTES_MAX) == (10, 12, 24, 2, 16 * 1_024)
    for said in (
        f"{VIEWERS_MAX:,} pages",
        f"up to {MARGIN:,} higher",
        f"`process.drain_lag_s` ({config.process.drain_lag_s:g})",
        f"`process.drain_s` ({config.process.drain_s:g} s)",
        f"`process.wedged_s` ({config.process.wedged_s:g} s)",
        f"`deliver.stall_ms` ({config.deliver.stall_ms / 1000:g} s)",
        f"`deliver.timeout_ms` ({config.deliver.timeout_ms / 1000:g} s)",
        f"`spool.bytes_max` ({config.spool.bytes_max >> 30} GiB)",
        f"`spool.segment_bytes`, {config.spool.segment_bytes >> 20} MiB",
        f"`spool.signups_reserve_bytes` ({config.spool.signups_reserve_bytes >> 20} MiB)",
        f"`spool.rejected_bytes_max` ({config.spool.rejected_bytes_max >> 20} MiB)",
        f"`limits.decide_timeout_ms` ({config.limits.decide_timeout_ms} ms)",
        f"`room.poll_budget_per_s` ({config.room.poll_budget_per_s:,})",
        f"{config.http.connections_max:,} (`http.connections_max`)",
    ):
        assert said in PAGE, said
