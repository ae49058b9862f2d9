"""The first thing one would write: every step awaited, one after the other, per request.

`request.json()`, PyJWT on every request, the fields checked by hand, one EVALSHA of a token
bucket through redis-py, one `send_and_wait` (idempotent, acks=all) per sample, one JSON answer.
Nothing here is slow on purpose; it is what the libraries' own examples add up to.
"""

import json
from collections.abc import AsyncIterator

import jwt
import redis.asyncio
import uvloop
from aiohttp import web
from aiokafka import AIOKafkaProducer

from benchmarks.peers import arguments, listen

# A plain token bucket in a hash, as found in most tutorials.
# KEYS[1] bucket   ARGV rate per second, burst   returns 1 = allowed
BUCKET_LUA = """
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(bucket[1]) or burst, tonumber(bucket[2]) or now
tokens = math.min(burst, tokens + (now - at) * rate)
local allowed = tokens >= 1
if allowed then tokens = tokens - 1 end
redis.call('HSET', KEYS[1], 'tokens', tokens, 'at', now)
redis.call('EXPIRE', KEYS[1], 60)
return allowed and 1 or 0
"""
# High enough that nobody is refused: what is measured is the price of asking.
RATE, BURST = 1_000_000, 1_000_000
SAMPLES_MAX, STEPS_MAX = 200, 200_000


class Naive:
    """The handler and the connections it holds."""

    def __init__(self, kafka: str, redis_url: str, topic: str, secret: bytes) -> None:
        """Remember where everything is; connections are opened by `connections`."""
        self._kafka, self._topic, self._secret = kafka, topic, secret
        self._redis = redis.asyncio.Redis.from_url(redis_url)
        self._script_sha = ""
        self._producer: AIOKafkaProducer

    async def connections(self, _app: web.Application) -> AsyncIterator[None]:
        """Open Kafka and Redis before the first request, close them after the last."""
        self._producer = AIOKafkaProducer(bootstrap_servers=self._kafka, acks="all", enable_idempotence=True)
        await self._producer.start()
        self._script_sha = str(await self._redis.script_load(BUCKET_LUA))
        yield
        await self._producer.stop()
        await self._redis.aclose()

    async def accept(self, request: web.Request) -> web.Response:
        """Check who, check what, ask the bucket, send and wait."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            user = jwt.decode(token, self._secret, algorithms=["HS256"], options={"verify_aud": False})["sub"]
        except jwt.InvalidTokenError:
            return web.json_response({"code": "unauthorized"}, status=401)
        try:
            sync = await request.json()
        except json.JSONDecodeError:
            return web.json_response({"code": "not-json"}, status=400)
        if not is_sync(sync):
            return web.json_response({"code": "invalid"}, status=422)
        allowed = await self._redis.evalsha(self._script_sha, 1, f"user:{user}", RATE, BURST)
        if not allowed:
            return web.json_response({"code": "rate-limited"}, status=429)
        for sample in sync["samples"]:
            event = {**sample, "user": user, "device_id": sync["device_id"]}
            await self._producer.send_and_wait(self._topic, json.dumps(event).encode(), key=user.encode())
        last_seq = max(sample["seq"] for sample in sync["samples"])
        answer = {"durability": "kafka", "accepted": len(sync["samples"]), "ack_through": last_seq}
        return web.json_response(answer, status=202)


def is_sync(sync: object) -> bool:
    """Whether the body has the fields of a sync, with the right types."""
    if not isinstance(sync, dict):
        return False
    samples = sync.get("samples")
    if not isinstance(samples, list) or not 1 <= len(samples) <= SAMPLES_MAX:
        return False
    named = all(isinstance(sync.get(key), str) for key in ("device_id", "platform", "app_version"))
    return named and all(is_sample(sample) for sample in samples)


def is_sample(sample: object) -> bool:
    """Whether one sample has its fields, and steps within bounds."""
    if not isinstance(sample, dict):
        return False
    if not all(isinstance(sample.get(key), str) for key in ("id", "day", "recorded_at", "source")):
        return False
    steps = sample.get("steps")
    return type(sample.get("seq")) is int and type(steps) is int and 0 <= steps <= STEPS_MAX


async def serve() -> None:
    """Listen until the process is ended."""
    chosen = arguments(__doc__)
    naive = Naive(chosen.kafka, chosen.redis, chosen.topic, bytes.fromhex(chosen.jwt_secret))
    app = web.Application()
    app.router.add_post("/v1/syncs", naive.accept)
    app.cleanup_ctx.append(naive.connections)
    await listen(app, chosen.port)


if __name__ == "__main__":
    uvloop.run(serve())
