"""What docs/api.md's own Python defines: the id of an event, as somebody computes it who has nothing but that page."""

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

API: Final = (Path(__file__).parents[1] / "docs/api.md").read_text(encoding="utf-8")


@cache
def python_blocks() -> dict[str, Any]:
    """Names → what the page's Python examples define."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", API, re.DOTALL):
        exec(block, names)
    return names
