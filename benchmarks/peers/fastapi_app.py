"""FastAPI + pydantic + slowapi + aiokafka, as their own documentation puts them together.

One uvicorn worker on uvloop and httptools, no access log.  The limit is slowapi's, stored in
Redis, per Authorization header, and high enough to refuse nobody.  It does NOT check the
token's signature (our naive peer and our gateway do): that is in this peer's favour.
slowapi asks Redis synchronously, from inside the event loop; that is how it is built.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Annotated, Any

import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field, StrictInt
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded

from benchmarks.peers import arguments, say_ready

LIMIT = "1000000/second"


class Sample(BaseModel):
    """One total of one day from one source."""

    id: str
    seq: StrictInt
    day: date
    steps: Annotated[StrictInt, Field(ge=0, le=200_000)]
    recorded_at: datetime
    source: str


class Sync(BaseModel):
    """The body of POST /v1/syncs."""

    device_id: str
    platform: str
    app_version: str
    samples: Annotated[list[Sample], Field(min_length=1, max_length=200)]


def member(request: Request) -> str:
    """Whose limit a request counts against."""
    return request.headers.get("Authorization", "")


def build(kafka: str, redis_url: str, topic: str) -> FastAPI:
    """Put the application together; Kafka is opened when it starts to serve."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
        await producer.start()
        app.state.producer = producer
        yield
        await producer.stop()

    limiter = Limiter(key_func=member, storage_uri=redis_url)
    app = FastAPI(lifespan=lifespan)
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)  # type: ignore[arg-type]

    @app.post("/v1/syncs", status_code=202)
    @limiter.limit(LIMIT)
    async def accept(request: Request, sync: Sync) -> dict[str, Any]:
        key = member(request)[-36:].encode()
        for sample in sync.samples:
            await request.app.state.producer.send_and_wait(topic, sample.model_dump_json().encode(), key=key)
        last_seq = max(sample.seq for sample in sync.samples)
        return {"durability": "kafka", "accepted": len(sync.samples), "ack_through": last_seq}

    return app


class ReadyServer(uvicorn.Server):
    """uvicorn's server, which says READY once it listens."""

    async def startup(self, sockets: Any = None) -> None:
        """Start as usual, then tell the harness."""
        await super().startup(sockets)
        say_ready()


def main() -> None:
    """Serve until the process is ended."""
    chosen = arguments(__doc__)
    config = uvicorn.Config(
        build(chosen.kafka, chosen.redis, chosen.topic),
        host="127.0.0.1",
        port=chosen.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        backlog=4096,
    )
    ReadyServer(config).run()


if __name__ == "__main__":
    main()
