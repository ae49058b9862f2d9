"""The shape of the code: who may import whom, one door per library, one catalogue of names, small functions.

A rule that is broken here is told in a sentence with its place.  An exception is a row in a
table with its reason; adding one is a decision somebody reads.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import pytest

from gateway.config import Config
from gateway.errors import PROBLEMS, SAMPLE_CODES
from gateway.metrics import BY_NAME

ROOT: Final = Path(__file__).parents[1]
FUNCTION_LINES_MAX: Final = 70

# The arrows, from top to bottom: a module imports only what stands in a lower line than its own.
LAYERS: Final = (
    ("__main__",),
    ("audit.command", "room_command", "supervisor", "worker"),
    ("audit.auditor",),
    ("accept", "control", "listening", "ops.server"),
    ("browser", "ops.rooms"),
    ("rooms", "ops.screen"),
    ("body", "ops.access", "ops.assets", "ops.status", "ops.stream"),
    ("ops.rates", "ops.events", "ops.fleet", "ops.history", "ops.lights"),
    ("ops.readings",),
    ("ops.frame",),
    ("admit", "connection", "documents", "ops.exposition", "pacer"),
    ("check", "room"),
    ("connections", "deliver", "spool.disk_spool", "identity", "limits", "openapi.__main__", "parser"),
    ("spool.commits",),
    ("spool.recovery", "spool.replay", "spool.sweep"),
    ("spool.rejected", "spool.books", "spool.files", "spool.ids", "spool.key", "lanes", "spool.strays", "topicsfile"),
    ("spool.segments",),
    (
        "acts",
        "audit.files",
        "audit.lines",
        "copies",
        "descriptors",
        "gathering",
        "holds",
        "kafka",
        "lag",
        "memory",
        "keys",
        "listeners",
        "redis_room",
        "reply",
        "sightings",
        "signfile",
        "spool.blocks",
        "spool.tasks",
        "spool.gauges",
        "audit.stored",
        "openapi.pages",
        "probes",
        "watch",
        "whereabouts",
    ),
    ("board", "config", "disk", "openapi", "openapi.grafana", "room_store", "spool.store"),
    ("openapi.room", "openapi.catalogue", "audit.sheets", "watermarks"),
    ("openapi.parts",),
    ("openapi.schemas", "core.alone"),
    ("core.act", "core.backlog", "core.heard", "core.lane", "core.place", "core.reckoning", "core.record", "core.waiting"),
    ("core.receipt", "core.event", "core.sign", "pages.waiting"),
    (
        "core.audit",
        "core.payload",
        "core.recordbatch",
        "core.admission",
        "core.gunzip",
        "core.head",
        "core.light",
        "core.notice",
        "core.address",
        "core.overload",
        "core.pace",
        "core.kept",
        "core.part",
        "core.ticket",
        "core.bits",
        "core.turn",
        "pages.words",
    ),
    ("core.seal",),
    ("metrics", "cors"),
    ("errors", "clock", "logs"),
)
# Leaves anyone may use; of ours they import at most each other.
LEAVES: Final = frozenset({"errors", "clock", "metrics", "logs"})

# One library, one door: the modules that may import it.
DOORS: Final = {
    "aiohttp": {
        "accept",
        "body",
        "browser",
        "connection",
        "listening",
        "ops.access",
        "ops.assets",
        "ops.rooms",
        "ops.server",
        "ops.stream",
        "parser",
        "reply",
        "rooms",
    },
    "aiokafka": {"kafka", "lag", "probes", "audit.stored"},
    "cryptography": {"spool.segments"},
    "fcntl": {"disk"},
    "prometheus_client": {"ops.exposition", "ops.server"},
    "jwt": {"identity"},
    "uvloop": {"__main__"},
    "tomllib": {"config"},
    "logging": {"logs"},
    "time": {"clock"},
    "random": {"admit"},
    "mmap": {"board"},
    # A record's crc is its own, the index of frames is packed with it.
    "zlib": {"core.gunzip", "core.part", "core.record"},
    "gc": {"memory"},
    "ctypes": {"memory"},
    "subprocess": set(),
    # What blocks for a disk's sake has one thread; there are no other threads but asyncio's own.
    "threading": {"disk"},
    "multiprocessing": set(),
    "requests": set(),
    "redis": set(),
}

# What core/ may import beside itself: what needs no world.  msgspec is the one library.
PURE: Final = frozenset(
    {
        "array",
        "base64",
        "bisect",
        "collections",
        "collections.abc",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "hashlib",
        "hmac",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "string",
        "struct",
        "typing",
        "uuid",
        "zlib",
        "msgspec",
        "msgspec.structs",
    }
)
# Pure modules have impure corners; these stay outside core/ too, everywhere but in their one home.
CLOCK_READS: Final = re.compile(r"\b(datetime\.now|datetime\.utcnow|date\.today|time\.time|time\.monotonic|perf_counter|uuid1|uuid4)\b")

# Source files without a test file of their name, and where they are examined instead.
ELSEWHERE: Final = {
    "listening": ("tests/system/test_lifecycle.py", "listeners are handed over and drained between processes"),
    "body": ("tests/system", "as accept: deadlines of bytes that trickle"),
    "worker": ("tests/system", "it is a process; its parts have tests of their own"),
    "probes": ("tests/contracts/test_probes.py", "what they find of real servers"),
    "kafka": ("tests/contracts/test_broker.py", "it sits one exam with its fake"),
    "spool.rejected": ("tests/contracts/test_spool.py", "a part of the spool: what it promises is asked there"),
    "audit.stored": ("tests/contracts/test_stored.py", "what it reads of a real Kafka"),
    "spool.store": ("tests/contracts/test_spool.py", "a protocol: who keeps it sits the exam there"),
    "room_store": ("tests/contracts/test_room_store.py", "a protocol: who keeps it sits the exam there"),
    "ops.frame": ("tests/ops/test_status.py", "a form without rules of its own"),
    "ops.readings": ("tests/ops/test_status.py", "values that are read"),
    "core.notice": ("tests/test_documents.py", "a form without rules of its own"),
    "core.sign": ("tests/core/test_waiting.py", "values without rules"),
    "openapi.parts": ("tests/test_openapi.py", "half of the document"),
    "openapi.room": ("tests/test_openapi.py", "half of the document"),
    "openapi.pages": ("tests/test_docs.py", "it writes docs/"),
    "openapi.schemas": ("tests/test_openapi.py", "half of the document"),
    "openapi.__main__": ("tests/test_openapi.py", "two lines around pages.py"),
    "__main__": ("tests/system", "it is a command line"),
}


class Module(NamedTuple):
    """One source file."""

    name: str  # "core.lane"; "" for the package itself
    path: Path
    text: str
    tree: ast.Module

    @property
    def where(self) -> str:
        return str(self.path.relative_to(ROOT))


@cache
def modules(package: str = "gateway") -> tuple[Module, ...]:
    """Every source file of a package."""
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / package).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        text = path.read_text(encoding="utf-8")
        found.append(Module(name, path, text, ast.parse(text)))
    return tuple(found)


def imports(module: Module, package: str) -> Iterator[tuple[int, str]]:
    """(line, full name) of everything a file imports, relative imports made absolute."""
    inside = [package, *module.name.split(".")] if module.name else [package]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) - node.level + (module.path.name == "__init__.py")] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}" if _is_module(f"{base}.{alias.name}") else base


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def ours(module: Module) -> list[tuple[int, str]]:
    """(line, name within gateway) of what a file of the gateway imports of the gateway."""
    return [(line, name.removeprefix("gateway").lstrip(".")) for line, name in imports(module, "gateway") if name.split(".")[0] == "gateway"]


# Who may import whom


def test_every_module_stands_in_the_picture_once() -> None:
    drawn = [name for layer in LAYERS for name in layer]
    packages = {"", "core", "ops", "pages", "audit", "spool"}  # docstrings alone
    assert sorted(drawn) == sorted({module.name for module in modules()} - packages)


def test_imports_point_downwards() -> None:
    depth = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
    wrong = [
        f"{module.where}:{line} imports {name}, which stands {'beside' if depth[name] == depth[module.name] else 'above'} it"
        for module in modules()
        for line, name in ours(module)
        if depth[name] <= depth[module.name]
    ]
    assert not wrong, "\n".join(wrong)


def test_leaves_import_nothing_of_ours_but_leaves() -> None:
    wrong = [f"{module.where}:{line} imports {name}" for module in modules() if module.name in LEAVES for line, name in ours(module) if name not in LEAVES]
    assert not wrong, "\n".join(wrong)


LIBRARY_PURE: Final = frozenset({"bucket", "policy", "breaker", "memory", "local"})


def test_the_limiter_is_a_library_of_its_own() -> None:
    """It knows nothing of the gateway, its rules need no world, and one file of it knows Redis."""
    wrong = []
    for module in modules("ratelimit"):
        for line, name in imports(module, "ratelimit"):
            where, root = f"{module.where}:{line} imports {name}", name.split(".")[0]
            if (
                root in ("gateway", "devstack", "benchmarks", "tests")
                or (root in ("redis", "hiredis") and module.name != "redis_line")
                or (module.name in LIBRARY_PURE and name not in PURE and name.removeprefix("ratelimit.") not in LIBRARY_PURE)
            ):
                wrong.append(where)
    assert {*LIBRARY_PURE} <= {module.name for module in modules("ratelimit")}
    assert not wrong, "\n".join(wrong)


def test_core_imports_only_core_and_what_is_pure() -> None:
    wrong = [
        f"{module.where}:{line} imports {name}"
        for module in modules()
        if module.name.startswith("core")
        for line, name in imports(module, "gateway")
        if not name.startswith("gateway.core") and name not in PURE
    ]
    assert not wrong, "\n".join(wrong)


def test_core_awaits_nothing() -> None:
    wrong = [
        f"{module.where}:{node.lineno}"
        for module in modules()
        if module.name.startswith("core")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncWith | ast.AsyncFor)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("package", "forbidden"), [("gateway", ("devstack", "benchmarks", "tests", "loadtests")), ("devstack", ("gateway", "benchmarks", "tests"))]
)
def test_packages_keep_apart(package: str, forbidden: tuple[str, ...]) -> None:
    wrong = [
        f"{module.where}:{line} imports {name}" for module in modules(package) for line, name in imports(module, package) if name.split(".")[0] in forbidden
    ]
    assert not wrong, "\n".join(wrong)


def test_rehearsals_know_the_gateway_by_http_alone() -> None:
    """What plays in virtual time aside: it runs the pure modules themselves, and the configuration they are given."""
    wrong = []
    for module in modules("loadtests"):
        for line, name in imports(module, "loadtests"):
            is_simulated = module.path.parent.name == "simulate"
            is_pure = name.startswith("gateway.core") or name in {"gateway.config", "ratelimit.bucket", "ratelimit.policy"}
            if name.split(".")[0] in {"gateway", "ratelimit"} and not (is_simulated and is_pure):
                wrong.append(f"{module.where}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


# One door


@pytest.mark.parametrize(("library", "doors"), DOORS.items())
def test_one_library_one_door(library: str, doors: set[str]) -> None:
    found = {module.name for module in modules() for _, name in imports(module, "gateway") if name.split(".")[0] == library}
    assert found <= doors, f"{library} is imported by {sorted(found - doors)}"
    assert found == doors, f"{library} is no longer imported by {sorted(doors - found)}: take them out of DOORS"


def test_only_config_reads_the_environment() -> None:
    wrong = [module.where for module in modules() if module.name != "config" and re.search(r"\benviron\b|\bgetenv\b", module.text)]
    assert not wrong


def test_only_clock_reads_the_clock() -> None:
    """asyncio's own timers aside; `loop.time()` measures how late they are."""
    wrong = [f"{module.where}: {match[0]}" for module in modules() if module.name != "clock" and (match := CLOCK_READS.search(_code(module)))]
    assert not wrong


def _code(module: Module) -> str:
    """A file's text as Python sees it: no comments, no docstrings."""
    return "\n".join(ast.unparse(_without_docstring(node)) for node in module.tree.body)


def _without_docstring(node: ast.stmt) -> ast.stmt:
    return ast.Pass() if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else node


def test_nothing_is_printed_but_by_the_command_line_and_the_ready_line() -> None:
    wrong = [
        f"{module.where}:{node.lineno}"
        for module in modules()
        if not module.name.endswith("__main__")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print" and "READY " not in ast.unparse(node)
    ]
    assert not wrong


# Small functions, one test file for each source file


@pytest.mark.parametrize("package", ["gateway", "devstack", "benchmarks", "loadtests"])
def test_functions_fit_on_a_screen(package: str) -> None:
    wrong = [
        f"{module.where}:{node.lineno} {node.name} has {length} lines"
        for module in modules(package)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not wrong, "\n".join(wrong)


def test_every_source_file_has_a_test_file_of_its_name() -> None:
    missing = []
    for module in modules():
        if not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in ast.walk(module.tree)):
            continue  # a docstring, a table: nothing runs
        *folders, name = module.name.split(".")
        mirror = ROOT.joinpath("tests", *folders, f"test_{name}.py")
        if module.name in ELSEWHERE:
            assert not mirror.exists(), f"{mirror} exists: take {module.name} out of ELSEWHERE"
            mirror = ROOT / ELSEWHERE[module.name][0]
        if not mirror.exists():
            missing.append(f"{module.where} wants {mirror.relative_to(ROOT)}")
    assert not missing, "\n".join(missing)


def test_the_exceptions_are_of_files_that_exist() -> None:
    assert ELSEWHERE.keys() <= {module.name for module in modules()}
    assert all(reason for _, reason in ELSEWHERE.values())


def test_every_package_and_module_states_its_law() -> None:
    assert not [module.where for module in modules() if not ast.get_docstring(module.tree)]


# One catalogue of names


def strings(*, without: str) -> Iterator[tuple[str, str]]:
    """(place, text) of every string constant of the gateway outside the module `without`."""
    for module in modules():
        if module.name != without:
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield f"{module.where}:{node.lineno}", node.value


def test_every_metric_that_is_used_is_in_the_catalogue() -> None:
    wrong = [f"{place} {text}" for place, text in strings(without="metrics") if re.fullmatch(r"sluicegate_[a-z_]+[a-z]", text) and text not in BY_NAME]
    assert not wrong, "\n".join(wrong)


def test_every_metric_of_the_catalogue_is_used() -> None:
    """By its name, or by the end of it where a file makes several.  Who only draws it does not post it."""
    used = {text for place, text in strings(without="metrics") if not place.startswith("gateway/openapi/")}
    assert not [name for name in BY_NAME if name not in used and name.removeprefix("sluicegate_") not in used]


def refusals() -> Iterator[tuple[str, str]]:
    """(place, code) of every Refusal whose code is written out."""
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal" and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    yield f"{module.where}:{node.lineno}", code.value


def test_every_problem_that_is_refused_with_exists() -> None:
    assert not [f"{place} {code}" for place, code in refusals() if code not in PROBLEMS]


def test_every_problem_is_refused_with_somewhere() -> None:
    """Written out, or decided as a value in core/admission.py."""
    decided = {text for place, text in strings(without="errors") if place.startswith("gateway/core/admission.py")}
    assert PROBLEMS.keys() == {code for _, code in refusals()} | decided & PROBLEMS.keys()


def test_every_code_of_a_sample_is_used() -> None:
    used = {text for _, text in strings(without="errors") if text in SAMPLE_CODES}
    assert used == SAMPLE_CODES.keys()


# Every bound has its reason


def test_every_setting_stands_in_gateway_toml_with_a_comment() -> None:
    """On the lines above it, or behind it."""
    path = ROOT / "gateway.toml"
    settings = msgspec.to_builtins(Config())
    assert tomllib.loads(path.read_text(encoding="utf-8")).keys() <= settings.keys()
    section, above, explained = "", False, set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"\[\[(\w+)\.(\w+)\]\]", line):
            section = ""
            if above:
                explained.add((match[1], match[2]))
        elif match := re.fullmatch(r"\[(\w+)\].*", line):
            section, above = match[1], False
        elif match := re.match(r"(?:# ?)?(\w+) = ", line):
            if above or "#" in line.partition("=")[2]:
                explained.add((section, match[1]))
        else:
            above = line.startswith("#") or (above and bool(line.strip()))
    wanted = {(section, name) for section, values in settings.items() for name in values}
    assert wanted <= explained, sorted(wanted - explained)
