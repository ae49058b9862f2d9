"""The operator's command: one line in, one request, lines or one complaint out."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import keys
from gateway.__main__ import main


class Port:
    """An ops port that answers as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status, self.answer = 200, b'{"room": "walk", "state": "open", "rate_per_s": 50.0, "told": null, "message": "\xea\xb3\xa7"}'
        self.asked: list[tuple[str, str, str | None, Any]] = []
        port = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                port.asked.append((self.command, self.path, self.headers.get("Authorization"), body))
                self.send_response(port.status)
                self.send_header("Content-Length", str(len(port.answer)))
                self.end_headers()
                self.wfile.write(port.answer)

            do_POST = do_GET  # noqa: N815 - the library's name

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def port() -> Iterator[Port]:
    made = Port()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    keys.make(tmp_path / "keys.json")
    path = tmp_path / "gateway.toml"
    path.write_text(f'[process]\ndata_dir = "{tmp_path}"\n')
    return path


def token(config: Path) -> str:
    return keys.load(config.parent / "keys.json").ops


def room(config: Path, *words: str) -> int:
    with contextlib.suppress(SystemExit):
        return main(["--config", str(config), "room", *words])
    return 2


def test_show_prints_how_it_stands(config: Path, port: Port, capsys: pytest.CaptureFixture[str]) -> None:
    assert room(config, "show", "walk", "--ops", port.url) == 0
    assert capsys.readouterr() == ("room: walk\nstate: open\nrate_per_s: 50.0\ntold: null\nmessage: 곧\n", "")
    assert port.asked == [("GET", "/api/rooms/walk", f"Bearer {token(config)}", None)]


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("set", "--rate", "50"), {"rate_per_s": 50.0}),
        (("set", "--rate", "follow"), {"rate_per_s": None}),
        (("set", "--message", "곧 엽니다"), {"message": "곧 엽니다"}),
        (("set", "--message", "", "--rate", "0.5"), {"message": "", "rate_per_s": 0.5}),
        (("pause",), {"paused": True}),
        (("pause", "--message", "m"), {"paused": True, "message": "m"}),
        (("resume",), {"paused": False}),
        (("close",), {"closed": True}),
        (("close", "--message", "m"), {"closed": True, "message": "m"}),
        (("open",), {"closed": False}),
    ],
)
def test_a_change_is_one_request(config: Path, port: Port, words: tuple[str, ...], body: dict[str, object]) -> None:
    assert room(config, *words, "walk", "--reason", "왜", "--ops", port.url) == 0
    assert port.asked == [("POST", "/api/rooms/walk", f"Bearer {token(config)}", body | {"reason": "왜"})]


def test_an_undo_asks_for_the_newest_act_and_takes_that_one_back(config: Path, port: Port, capsys: pytest.CaptureFixture[str]) -> None:
    port.answer = b'{"state": "closed", "closed": true, "version": 1769519405000000}'
    assert room(config, "undo", "walk", "--reason", "the wrong room", "--ops", port.url) == 0
    bearer = f"Bearer {token(config)}"
    assert port.asked == [
        ("GET", "/api/rooms/walk", bearer, None),
        ("POST", "/api/rooms/walk", bearer, {"undo": 1_769_519_405_000_000, "reason": "the wrong room"}),
    ]
    assert capsys.readouterr() == ("state: closed\nclosed: true\nversion: 1769519405000000\n", "")


def test_an_undo_where_the_room_is_not_shown_undoes_nothing(config: Path, port: Port, capsys: pytest.CaptureFixture[str]) -> None:
    port.status, port.answer = 503, b'{"code": "not-durable", "detail": "the store has not answered yet", "version": 7}'
    assert room(config, "undo", "walk", "--reason", "r", "--ops", port.url) == 1
    assert [method for method, *_ in port.asked] == ["GET"]
    assert capsys.readouterr() == ("", "sluicegate: 503 not-durable: the store has not answered yet\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "required"),
        (("show",), "required: room"),
        (("set", "walk", "--rate", "50"), "required: --reason"),
        (("pause", "walk"), "required: --reason"),
        (("set", "walk", "--reason", "r"), "want --rate or --message"),
        (("set", "walk", "--reason", "r", "--rate", "fast"), "invalid rate value: 'fast'"),
        (("set", "walk", "--reason", "r", "--rate", "0"), "invalid rate value: '0'"),
        (("set", "walk", "--reason", "r", "--rate", "nan"), "invalid rate value: 'nan'"),
        (("shut", "walk"), "invalid choice"),
        (("undo", "walk"), "required: --reason"),
        (("undo", "walk", "--reason", "r", "--message", "m"), "unrecognized arguments"),
        (("show", "walk", "--ops", "127.0.0.1:8081"), "want an address such as http://127.0.0.1:8081"),
        (("show", "walk", "--ops", "http://127.0.0.1:x"), "--ops"),
        (("show", "walk", "--ops", "http://127.0.0.1:1/api"), "want an address"),
    ],
)
def test_a_wrong_command_is_told_in_a_line(config: Path, words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert room(config, *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("status", "answer", "line"),
    [
        (401, {"code": "token-invalid", "detail": "this is not the operators' token"}, "401 token-invalid: this is not the operators' token"),
        (
            422,
            {"code": "invalid", "detail": "see errors", "errors": [{"pointer": "/rate_per_s", "detail": "want 1"}, {"pointer": "", "detail": "want"}]},
            "422 invalid: see errors; /rate_per_s: want 1; the request: want",
        ),
        (503, {"code": "not-durable", "detail": "the act is on disk", "applied": False}, "503 not-durable: the act is on disk"),
        (404, None, "404 that is no gateway"),
        (302, None, "302 that is no gateway"),
    ],
)
def test_a_refusal_is_told_in_a_line(config: Path, port: Port, status: int, answer: object, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    port.status, port.answer = status, json.dumps(answer).encode() if answer else b"<html>"
    assert room(config, "pause", "walk", "--reason", "r", "--ops", port.url) == 1
    assert capsys.readouterr() == ("", f"sluicegate: {line}\n")


def test_nobody_there(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert room(config, "show", "walk", "--ops", "http://127.0.0.1:1") == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "http://127.0.0.1:1: Connection refused: is the gateway running" in err


def test_the_environments_proxy_never_sees_the_token(config: Path, port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", port.url)
    assert room(config, "show", "walk", "--ops", "http://127.0.0.1:1") == 1
    assert port.asked == []


def test_the_settings_say_where_it_is(config: Path, port: Port, capsys: pytest.CaptureFixture[str]) -> None:
    text = config.read_text()
    for bind in (port.url.removeprefix("http://"), f"0.0.0.0:{port.server.server_port}"):
        config.write_text(text + f'[ops]\nbind = "{bind}"\n')
        assert room(config, "show", "walk") == 0
    config.write_text(text + '[ops]\nbind = "127.0.0.1:0"\n')
    assert room(config, "show", "walk") == 2
    assert "want --ops" in capsys.readouterr().err


def test_without_a_token_nothing_is_asked(config: Path, port: Port, capsys: pytest.CaptureFixture[str]) -> None:
    path = config.parent / "keys.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "ops"}))
    assert room(config, "show", "walk", "--ops", port.url) == 2
    assert "want `ops`" in capsys.readouterr().err
    assert port.asked == []


def test_a_name_is_no_path(config: Path, port: Port) -> None:
    assert room(config, "show", "../metrics?x", "--ops", port.url) == 0
    assert port.asked[0][1] == "/api/rooms/..%2Fmetrics%3Fx"
