"""Where the files under deploy/ are, how they are read, and what the code says of the same things."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final = DEPLOY / "compose"
KUBERNETES: Final = DEPLOY / "kubernetes"
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# name:1.2.3 and more; the name may have slashes, the version says all three numbers.
_PINNED: Final = re.compile(r"[a-z][a-z0-9./-]*:\d+\.\d+\.\d+(-[a-z0-9.-]+)?\Z")


def documents(path: Path) -> list[Any]:
    """All of a YAML file, aliases and merges resolved."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def is_pinned(image: str) -> bool:
    """By a version; ours by the project's own."""
    return bool(_PINNED.match(image)) and (not image.startswith("sluicegate:") or image == f"sluicegate:{PROJECT['version']}")


def operators_paths() -> set[str]:
    """What stands as a path in the code of the operators' port."""
    files = sorted((ROOT / "gateway" / "ops").rglob("*.py"))
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"/[a-z]+", node.value)}


def seconds(text: str) -> float:
    """Of `500ms`, `30s`, `1m`, `1h`."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()  # type: ignore[union-attr]  # else the test fails here, as it should
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def mebibytes(text: str) -> float:
    """Of `1g`, `768m` and `768mb`, `1Gi`."""
    number, unit = re.fullmatch(r"(\d+)\s*([mg])(?:b|i)?", text.lower()).groups()  # type: ignore[union-attr]  # as above
    return int(number) * {"m": 1, "g": 1024}[unit]
