"""sender.py: answers however they are cut, and connections that are kept, closed, refused, or too slow."""

import datetime as dt
import ipaddress
import ssl as std_ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import gevent.server
import gevent.ssl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from loadtests.crowd.sender import Parsed, Sender, UnreadableAnswerError, parsed
from loadtests.recording import CUT, NO_ANSWER

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"
WHOLE = {
    OK: Parsed(202, {}, b"{}", True),
    b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nConnection: close\r\ncontent-length: 0\r\n\r\n": Parsed(503, {"Retry-After": "7"}, b"", False),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n": Parsed(200, {}, b"abcde", True),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nDigest: z\r\n\r\n": Parsed(200, {}, b"a", True),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx": Parsed(200, {}, b"x", False),
    b"HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n": Parsed(304, {}, b"", True),
}


@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_an_answer_is_whole_at_its_last_byte_and_no_sooner(text: bytes, data: st.DataObject) -> None:
    assert parsed(text) == WHOLE[text]
    assert parsed(text[: data.draw(st.integers(0, len(text) - 1))]) is None


def test_a_body_without_length_ends_with_the_connection() -> None:
    text = b"HTTP/1.1 200 OK\r\n\r\nabc"
    assert parsed(text) is None
    assert parsed(text, is_end=True) == Parsed(200, {}, b"abc", False)


@pytest.mark.parametrize("text", [b"SSH-2.0\r\n\r\n", OK + b"more", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"x" * 70_000])
def test_what_is_no_answer_is_told(text: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        parsed(text)


@contextmanager
def serving(talk: Callable[[Any, int], None], **tls: Any) -> Iterator[int]:
    """A server: `talk` with each connection, and its number."""
    count = iter(range(1_000))
    server = gevent.server.StreamServer(("127.0.0.1", 0), lambda connection, _: talk(connection, next(count)), **tls)
    server.start()
    try:
        yield server.server_port
    finally:
        server.stop()


def answering(connection: Any, _number: int) -> None:
    while connection.recv(65_536):
        connection.sendall(OK)


def sender(port: int, patience_s: float = 5.0) -> Sender:
    return Sender(f"http://127.0.0.1:{port}", time.monotonic, patience_s=patience_s)


def test_one_connection_for_one_after_the_other_and_as_many_as_at_once() -> None:
    with serving(answering) as port:
        sends = sender(port)
        assert [sends.send(ASK).status for _ in range(3)] == [202] * 3
        assert sends.opened == 1
        jobs = [gevent.spawn(sends.send, ASK) for _ in range(50)]
        assert {job.get().status for job in jobs} == {202}
        assert 2 < sends.opened <= 50


def test_a_kept_connection_that_the_server_closed_is_not_used() -> None:
    def once(connection: Any, _number: int) -> None:
        connection.recv(65_536)
        connection.sendall(OK)
        connection.close()

    with serving(once) as port:
        sends = sender(port)
        assert sends.send(ASK).status == 202
        gevent.sleep(0.05)
        assert sends.send(ASK).status == 202
        assert sends.opened == 2


def test_no_answer_cut_and_refused_are_told_apart_and_nothing_is_sent_twice() -> None:
    seen = []

    def silent(connection: Any, number: int) -> None:
        seen.append(connection.recv(65_536))
        if number == 0:
            gevent.sleep(5)
        connection.sendall(b"HTTP/1.1 202 Acc")
        connection.close()

    with serving(silent) as port:
        sends = sender(port, 0.2)
        late = sends.send(ASK)
        assert (late.status, late.body) == (NO_ANSWER, b"")
        assert 0.15 < late.done_s - late.sent_s < 3
        assert sends.send(ASK).status == CUT
        assert seen == [ASK, ASK]
        assert sends.in_flight == 0
    assert sender(port).send(ASK).status == CUT  # nobody listens


def test_another_url_is_refused() -> None:
    with pytest.raises(ValueError, match="want http://HOST"):
        Sender("ftp://x", time.monotonic)


def test_https_with_a_certificate_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's certificates decide; SSL_CERT_FILE names others."""
    key, certificate = _self_signed(tmp_path)
    context = gevent.ssl.SSLContext(std_ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(answering, ssl_context=context) as port:
        url = f"https://127.0.0.1:{port}/gateway/"
        assert Sender(url, time.monotonic).send(ASK).status == CUT
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        sends = Sender(url, time.monotonic)
        assert [sends.send(ASK).status for _ in range(2)] == [202, 202]
        assert (sends.host, sends.prefix, sends.opened) == (f"127.0.0.1:{port}", "/gateway", 1)


def _self_signed(folder: Path) -> tuple[Path, Path]:
    private, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number(), now - dt.timedelta(1), now + dt.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    key_file, certificate_file = folder / "key.pem", folder / "certificate.pem"
    form = serialization.Encoding.PEM
    key_file.write_bytes(private.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(form))
    return key_file, certificate_file
