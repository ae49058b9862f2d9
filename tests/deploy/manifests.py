"""Where the files under deploy/ are, and how they are read."""

from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final = DEPLOY / "compose"
KUBERNETES: Final = DEPLOY / "kubernetes"


def documents(path: Path) -> list[Any]:
    """All of a YAML file, aliases and merges resolved."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
