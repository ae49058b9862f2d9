"""Group commit: what many ask in one tick of the loop, asked in one call.

Decided here: which items share a call.  One call is out at a time; who comes meanwhile gathers for the
next, in order.  A lone item leaves when its tick is over.  Nobody's call is cancelled with them, and a
call that fails, fails for all who shared it: nothing is asked twice here.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from gateway.errors import RoomAway

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Gathering(Generic[Item, Answer]):
    """One kind of question to one store.

    Args:
        ask: the call; as many answers as items, in their order.
        most: items a call may have.
        waiting_max: items that may wait for the calls before theirs: more would be answered too late anyway.
    """

    def __init__(self, ask: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], most: int, waiting_max: int) -> None:
        self._ask = ask
        self._most = most
        self._waiting_max = waiting_max
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._asking: asyncio.Task[None] | None = None

    def enter(self, item: Item) -> "asyncio.Future[Answer]":
        """The answer to this item.

        Raises (the future too):
            RoomAway: too many wait, or what the call raises.
        """
        if len(self._waiting) >= self._waiting_max:
            raise RoomAway(f"{self._waiting_max} wait for the store already")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, future))
        if self._asking is None:
            self._asking = loop.create_task(self._ask_on())
        return future

    async def _ask_on(self) -> None:
        """Call after call, until nobody waits."""
        try:
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                await self._ask_one(taken)
        finally:
            self._asking = None

    async def _ask_one(self, taken: Sequence[tuple[Item, "asyncio.Future[Answer]"]]) -> None:
        try:
            answered = list(zip(taken, await self._ask([item for item, _ in taken]), strict=True))
        except Exception as exc:  # noqa: BLE001 - RoomAway, or a mistake of ours: nobody waits on for an answer that will not come
            for _, future in taken:
                if not future.done():
                    future.set_exception(exc)
            return
        for (_, future), answer in answered:
            if not future.done():  # who was cancelled waits no longer
                future.set_result(answer)
