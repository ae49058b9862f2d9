"""The command of a simulation that compares laws over scenarios in virtual time."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar


class Named(Protocol):
    """A scenario."""

    @property
    def name(self) -> str:
        """What it is asked for by."""


S = TypeVar("S", bound=Named)


def print_table(of: str, laws: Iterable[str], scenarios: Sequence[S], lines: Callable[[Sequence[str], Sequence[S]], Iterator[str]]) -> int:
    """Print the lines of the laws and scenarios asked for, each as soon as it is known; returns the exit code.  Args: of: what is compared."""
    parser = argparse.ArgumentParser(description=f"{of} in virtual time.")
    parser.add_argument("--only", default=",".join(laws), help="comma between; default: all")
    parser.add_argument("--scenario", default="", help="those whose name contains this")
    chosen = parser.parse_args()
    for line in lines(chosen.only.split(","), [scenario for scenario in scenarios if chosen.scenario in scenario.name]):
        print(line, flush=True)
    return 0
