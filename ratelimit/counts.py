"""What a limiter counts: plain numbers since the start, for whoever shows them."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Every take that was answered is in one of the first six; peeks and refunds are in none of them."""

    allowed: int = 0  # by the store
    refused: int = 0
    remembered: int = 0  # refused again, without the store
    local: int = 0  # answered by on_error
    open: int = 0
    closed: int = 0
    alone_tokens: int = 0  # granted without the store, "local" or "open": more cannot have been too much
    calls: int = 0  # sent, questions whether the store is back included; each that is over is in one of the next three
    answered: int = 0  # in time
    late: int = 0  # answered when nobody waited any more, or would have
    store_errors: int = 0  # raised
    asks: int = 0  # in these calls
    timeouts: int = 0  # the store went away because an ask had waited too long
    full: int = 0  # asks that found the line full
    refunds_lost: int = 0  # what the store was owed while it was away
    beats_lost: int = 0
