"""What the operator said survives: whole, for its owner alone."""

import json
from pathlib import Path

import pytest

from gateway.acts import ActsFile, Audit, Kept
from gateway.core.sign import Acts

ACTS = Acts(1_769_519_405_000_000, is_paused=True, told_per_s=50.0, message="곧 다시 엽니다")
CLOSED = ACTS._replace(version=ACTS.version + 1, told_per_s=None, is_closed=True)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file = ActsFile(tmp_path / "deep", "room-a-1")
    assert file.load() == Kept(Acts(), None)
    for acts, before in ((ACTS, None), (ACTS, Acts()), (CLOSED, ACTS), (ACTS._replace(version=CLOSED.version + 1), CLOSED)):
        file.save(acts, before)
        assert ActsFile(tmp_path / "deep", "room-a-1").load() == Kept(acts, before)
    assert file.path.name == "room-a-1.acts.json"
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.path.parent.iterdir()] == ["room-a-1.acts.json"]


def test_a_file_of_a_version_that_knew_no_close_is_an_open_room(tmp_path: Path) -> None:
    file = ActsFile(tmp_path, "room-a-1")
    file.path.write_text('{"version": 7, "paused": true, "told_per_s": 50.0, "message": "m"}')
    assert file.load() == Kept(Acts(7, is_paused=True, told_per_s=50.0, message="m", is_closed=False), None)


def test_another_epoch_has_acts_of_its_own(tmp_path: Path) -> None:
    ActsFile(tmp_path, "room-a-1").save(ACTS)
    assert ActsFile(tmp_path, "room-a-2").load() == Kept()


def test_a_crash_while_saving_leaves_the_old_one(tmp_path: Path) -> None:
    file = ActsFile(tmp_path, "room-a-1")
    file.save(ACTS)
    file.path.with_suffix(".draft").write_text('{"version": 9')
    assert file.load().acts == ACTS
    file.save(CLOSED)
    assert file.load().acts == CLOSED


GOOD = '"version": 1, "paused": true, "told_per_s": null, "message": ""'


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": "x"}', f'{{{GOOD}, "more": 1}}', f'{{{GOOD}, "before": {{}}}}'])
def test_what_is_not_readable_is_said_and_passed_over(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    file = ActsFile(tmp_path, "room-a-1")
    file.path.write_text(text)
    assert file.load() == Kept()
    assert "not readable" in caplog.text


def test_a_disk_that_does_not_take_it_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ActsFile(tmp_path / "file", "room-a-1").save(ACTS)
    with pytest.raises(OSError, match="file"):
        Audit(tmp_path / "file").append({})


def test_the_list_only_grows(tmp_path: Path) -> None:
    entries: list[dict[str, object]] = [{"n": 1, "text": "줄\n둘"}, {"n": 2}]
    for entry in entries:
        Audit(tmp_path).append(entry)
    path = tmp_path / "audit.jsonl"
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == entries
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_newest_of_the_list_come_first(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    assert audit.last(5) == []
    for number in range(20):
        audit.append({"number": number, "reason": "\u20ac" * 500})
    assert [entry["number"] for entry in audit.last(3)] == [19, 18, 17]
    assert len(audit.last(1_000)) == 20
    with audit.path.open("ab") as file:
        file.write(b'{"number": 20, "rea')  # a crash cut it
    assert [entry["number"] for entry in audit.last(2)] == [19, 18]
    audit.append({"number": 21})
    assert [entry["number"] for entry in audit.last(3)] == [21, 19, 18]


def test_a_long_list_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.acts._BLOCK_BYTES", 100)
    audit = Audit(tmp_path)
    for number in range(100):
        audit.append({"number": number, "reason": "r" * 30})
    assert [entry["number"] for entry in audit.last(2)] == [99, 98]
