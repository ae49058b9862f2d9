"""The proxy of Compose, run for real before two gateways that are played: what it caches, whom it names, where it sends.

Only addresses, ports and the certificate's place are others than in the file.  Needs Debian's haproxy: `make test-deploy`.
"""

import asyncio
import datetime as dt
import shutil
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devstack.ports import lease_port
from tests.deploy.manifests import COMPOSE

pytestmark = pytest.mark.deploy
ANSWER_S = 30.0


class Played:
    """A gateway as far as the proxy can tell: two ports on an address of its own."""

    def __init__(self, address: str, public: int, ops: int) -> None:
        self.address, self._public, self._ops = address, public, ops
        self.is_ready = True
        self.asked: Counter[str] = Counter()
        self.forwarded: list[list[str]] = []
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        async def public(request: web.Request) -> web.Response:
            self.asked[request.path] += 1
            self.forwarded.append(request.headers.getall("X-Forwarded-For", []))
            cache = "public, max-age=1" if request.path in {"/v1/rooms/signup", "/v1/notices"} else "no-store"
            return web.Response(text="{}", headers={"Cache-Control": cache, "ETag": '"1"', "Played-By": self.address})

        async def readyz(_: web.Request) -> web.Response:
            return web.Response(status=200 if self.is_ready else 503)

        for port, path, handler in ((self._public, "/{all:.*}", public), (self._ops, "/readyz", readyz)):
            app = web.Application()
            app.router.add_route("*", path, handler)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, self.address, port).start()
            self._runners.append(runner)

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()


class Front:
    """The proxy and both."""

    def __init__(self, url: str, port: int, gateways: tuple[Played, Played], session: aiohttp.ClientSession) -> None:
        self.url, self.port, self.gateways, self.session = url, port, gateways, session

    async def get(self, path: str, **headers: str) -> aiohttp.ClientResponse:
        async with self.session.get(self.url + path, headers=headers, allow_redirects=False) as answer:
            await answer.read()
            return answer

    def asked(self, path: str) -> int:
        return sum(gateway.asked[path] for gateway in self.gateways)


def certificate(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "walk.example")])
    now = dt.datetime.now(dt.UTC)
    begun = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    signed = begun.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    path.write_bytes(signed.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


@pytest_asyncio.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    leases = [lease_port() for _ in range(4)]
    tls, plain, public, ops = (lease.port for lease in leases)
    certificate(tmp_path / "tls.pem")
    text = (COMPOSE / "proxy.cfg").read_text()
    for there, here in {
        "maxconn 40000": "maxconn 400",  # this machine may not open so many files
        "bind :8443": f"bind 127.0.0.1:{tls}",
        "bind :8080": f"bind 127.0.0.1:{plain}",
        "/run/secrets/tls.pem": str(tmp_path / "tls.pem"),
        "gateway-1:8080": f"127.0.0.2:{public}",
        "gateway-2:8080": f"127.0.0.3:{public}",
        "check port 8081": f"check port {ops}",
    }.items():
        assert there in text, there
        text = text.replace(there, here)
    (tmp_path / "proxy.cfg").write_text(text)
    gateways = Played("127.0.0.2", public, ops), Played("127.0.0.3", public, ops)
    for gateway in gateways:
        await gateway.start()
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    assert haproxy, "make test-deploy brings Debian's haproxy"
    process = subprocess.Popen([haproxy, "-db", "-f", str(tmp_path / "proxy.cfg")])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        running = Front(f"https://127.0.0.1:{tls}", tls, gateways, session)
        try:
            async with asyncio.timeout(ANSWER_S):
                await _until_answered(running)
            yield running
        finally:
            process.kill()
            process.wait()
            for gateway in gateways:
                await gateway.stop()
            for lease in leases:
                lease.release()


async def _until_answered(front: Front) -> None:
    while True:
        try:
            if (await front.get("/")).status == 200:
                return
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(0.05)


async def test_the_sign_is_kept_for_a_second_and_nobodys_place_ever(front: Front) -> None:
    for _ in range(20):
        assert (await front.get("/v1/rooms/signup")).status == 200
        await front.get("/v1/rooms/signup/place")
        await front.get("/v1/notices")
    # Twenty within about a second; a slow machine needs longer, but not one a second.
    assert front.asked("/v1/rooms/signup") < 20
    assert front.asked("/v1/rooms/signup/place") == 20
    assert front.asked("/v1/notices") == 20, "only the sign"


async def test_a_kept_sign_is_known_by_its_tag(front: Front) -> None:
    async with asyncio.timeout(ANSWER_S):
        while (await front.get("/v1/rooms/signup", **{"If-None-Match": '"1"'})).status != 304:
            await front.get("/v1/rooms/signup")


async def test_the_clients_address_is_the_proxys_word_and_not_the_clients(front: Front) -> None:
    await front.get("/v1/rooms/signup/place", **{"X-Forwarded-For": "203.0.113.9"})
    assert [gateway.forwarded[-1] for gateway in front.gateways if gateway.asked["/v1/rooms/signup/place"]] == [["127.0.0.1"]]


async def test_phones_are_offered_http_2(front: Front) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", front.port, ssl=context)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    writer.close()


async def test_a_gateway_that_drains_gets_no_more_requests_and_nobody_notices(front: Front) -> None:
    leaving, staying = front.gateways
    leaving.is_ready = False
    in_a_row = 0
    async with asyncio.timeout(ANSWER_S):
        while in_a_row < 20:
            answer = await front.get("/v1/syncs")
            assert answer.status == 200
            in_a_row = in_a_row + 1 if answer.headers["Played-By"] == staying.address else 0
