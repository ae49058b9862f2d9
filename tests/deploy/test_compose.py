"""Compose for one host: by the schema, and what its files say to each other and to the code."""

import ipaddress
import re
import subprocess
import sys
from typing import Any, Final

import pytest

from gateway import config, descriptors
from gateway.config import ENVIRONMENT
from tests.deploy.manifests import COMPOSE, documents, is_pinned, mebibytes, operators_paths, seconds

FILE: Final = COMPOSE / "compose.yaml"
COMPOSED: Final[dict[str, Any]] = documents(FILE)[0]
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSED["services"]
GATEWAYS: Final = {name: service for name, service in SERVICES.items() if name.startswith("gateway-")}
BROKERS: Final = {name: service for name, service in SERVICES.items() if name.startswith("kafka-")}
ONE_SHOT: Final = {"keys", "topics"}
SETTINGS: Final = config.load(COMPOSE / "gateway.toml", {})
PROXY: Final = (COMPOSE / "proxy.cfg").read_text()


def said(text: str, name: str) -> str:
    """The value of a directive, in a file of HAProxy, Valkey or Sentinel."""
    found = set(re.findall(rf"^\s*{re.escape(name)} (.+)$", text, re.MULTILINE))
    assert len(found) == 1, (name, found)
    return str(found.pop()).strip()


def test_the_schema_of_compose_holds() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_whatever_is_named_is_there_and_whatever_is_there_is_used() -> None:
    used: dict[str, set[str]] = {"volumes": set(), "configs": set(), "secrets": set(), "networks": set(), "services": set()}
    for service in SERVICES.values():
        used["volumes"] |= {volume.split(":")[0] for volume in service.get("volumes", ()) if not volume.startswith(".")}
        used["configs"] |= {given["source"] for given in service.get("configs", ())}
        used["secrets"] |= set(service.get("secrets", ()))
        used["networks"] |= set(service.get("networks", ()))
        used["services"] |= set(service.get("depends_on", ()))
    assert used.pop("services") <= SERVICES.keys()
    for kind, names in used.items():
        assert names == COMPOSED[kind].keys(), kind
    for given in COMPOSED["configs"].values():
        assert (COMPOSE / given["file"]).is_file(), given


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_pinned_bounded_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert is_pinned(service["image"]), service["image"]
    if name == "keys":
        return  # by hand, once
    assert mebibytes(service["mem_limit"]) > 0
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    if name not in ONE_SHOT:
        # The gateways have the image's.
        assert name in GATEWAYS or "healthcheck" in service
        assert service["restart"] == "unless-stopped"


def test_only_the_proxy_is_reached_from_outside() -> None:
    public = {name for name, service in SERVICES.items() for port in service.get("ports", ()) if not port.startswith("127.0.0.1:")}
    assert public == {"proxy"}
    assert COMPOSED["networks"]["inside"]["internal"] is True
    assert SERVICES["proxy"]["networks"] == ["front"], "the proxy sees gateways and nothing behind them"
    ops_port = SETTINGS.ops.bind.rpartition(":")[2]
    for service in GATEWAYS.values():
        assert [port.rpartition(":")[2] for port in service["ports"]] == [ops_port]


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_gateway_may_write_to_its_volume_alone(name: str) -> None:
    service = GATEWAYS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("user", "") == "", "the image's"
    assert service["volumes"] == [f"{name}:{SETTINGS.process.data_dir}"], "its own: signs of two gateways have the same names"


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_gateway_has_time_to_drain_and_what_its_settings_need(name: str) -> None:
    service = GATEWAYS[name]
    assert seconds(service["stop_grace_period"]) > SETTINGS.process.drain_s
    assert service["ulimits"]["nofile"]["hard"] >= descriptors.needed(SETTINGS)
    assert service["cpus"] >= SETTINGS.process.workers
    assert mebibytes(service["mem_limit"]) >= 400 * SETTINGS.process.workers + 100
    assert f"/run/secrets/{service['secrets'][0]}" == SETTINGS.identity.keys_file
    assert {given["target"] for given in service["configs"]} == {"/etc/sluicegate/gateway.toml"}


def test_the_fleet_is_no_larger_than_the_room_is_told() -> None:
    assert len(GATEWAYS) * SETTINGS.process.workers <= SETTINGS.room.fleet_workers_max


def test_names_of_the_environment_are_known() -> None:
    named = set(re.findall(r"GATEWAY_[A-Z_]+", FILE.read_text()))
    assert named
    assert named <= ENVIRONMENT.keys()


def test_the_proxys_network_is_the_one_trusted() -> None:
    (subnet,) = COMPOSED["networks"]["front"]["ipam"]["config"]
    assert SETTINGS.http.trusted_proxies == (subnet["subnet"],)


# The proxy


def test_it_goes_to_every_gateway_and_asks_what_the_code_answers() -> None:
    public, ops = (bind.rpartition(":")[2] for bind in (SETTINGS.http.bind, SETTINGS.ops.bind))
    assert dict(re.findall(r"^ +server (\S+) (\S+)$", PROXY, re.MULTILINE)) == {name: f"{name}:{public}" for name in GATEWAYS}
    assert re.search(r"default-server check port (\d+)", PROXY).group(1) == ops  # type: ignore[union-attr]
    assert re.search(r"http-check send meth GET uri (\S+)", PROXY).group(1) in operators_paths()  # type: ignore[union-attr]


def test_a_drain_is_seen_while_the_gateway_serves_on() -> None:
    every, times = re.search(r"default-server .* inter (\S+) fall (\d+)", PROXY).groups()  # type: ignore[union-attr]
    assert seconds(every) * (int(times) + 1) < SETTINGS.process.drain_lag_s


def test_the_proxy_closes_idle_connections_before_the_gateway_does() -> None:
    assert seconds(said(PROXY, "timeout server")) < SETTINGS.http.keepalive_s
    assert seconds(re.search(r"pool-purge-delay (\S+)", PROXY).group(1)) < SETTINGS.http.keepalive_s  # type: ignore[union-attr]


def test_the_proxy_waits_for_the_slowest_honest_answer() -> None:
    """The whole body, then Kafka's deadline; a turn at the door is held no longer than that."""
    http, deliver = SETTINGS.http, SETTINGS.deliver
    assert seconds(said(PROXY, "timeout server")) > http.body_timeout_s + deliver.timeout_ms / 1000
    assert seconds(said(PROXY, "timeout http-request")) > http.headers_timeout_s


def test_the_proxy_has_descriptors_for_both_ends_and_time_to_end() -> None:
    service = SERVICES["proxy"]
    assert service["ulimits"]["nofile"]["hard"] > 2 * int(said(PROXY, "maxconn"))
    assert seconds(said(PROXY, "hard-stop-after")) < seconds(service["stop_grace_period"])


def test_the_proxy_keeps_the_sign_and_nothing_else() -> None:
    (pattern,) = re.findall(r"acl is_sign path_reg (\S+)", PROXY)
    room = f"/v1/rooms/{SETTINGS.room.name}"
    assert re.search(pattern, room)
    for other in (f"{room}/place", f"{room}/tickets", f"{room}/passes", "/v1/syncs", f"/rooms/{SETTINGS.room.name}", "/v1/notices"):
        assert not re.search(pattern, other), other
    assert said(PROXY, "max-age") == "1"
    assert set(re.findall(r"(cache-(?:use|store)) sign if (\S+)", PROXY)) == {("cache-use", "is_sign"), ("cache-store", "is_sign_asked")}


# What the gateways need


def test_kafka_is_three_copies_of_which_two_must_have_it() -> None:
    bootstrap = SETTINGS.deliver.bootstrap.split(",")
    assert bootstrap == [f"{name}:9092" for name in BROKERS]
    assert len(BROKERS) == 3
    for number, (name, service) in enumerate(BROKERS.items(), 1):
        environment = service["environment"]
        assert environment["KAFKA_NODE_ID"] == str(number)
        assert environment["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{name}:9092"
        assert f"{number}@{name}:9093" in environment["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(",")
        assert (environment["KAFKA_DEFAULT_REPLICATION_FACTOR"], environment["KAFKA_MIN_INSYNC_REPLICAS"]) == ("3", "2")
        assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
        assert service["volumes"] == [f"{name}:{environment['KAFKA_LOG_DIRS']}"]


def test_the_topics_are_the_gateways() -> None:
    script = SERVICES["topics"]["command"][-1]
    assert set(re.findall(r"^make (\S+)", script, re.MULTILINE)) == {SETTINGS.deliver.syncs_topic, SETTINGS.deliver.signups_topic, SETTINGS.deliver.audit_topic}
    assert "--replication-factor 3 --config min.insync.replicas=2" in script
    assert SETTINGS.deliver.bootstrap in script
    for service in GATEWAYS.values():
        assert service["depends_on"]["topics"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize(("url", "name"), [(SETTINGS.redis.url, "limits"), (SETTINGS.redis.room_url, "room")])
def test_redis_addresses_are_of_services_on_the_same_network(url: str, name: str) -> None:
    assert url == f"redis://{name}:6379/0"
    assert "inside" in SERVICES[name]["networks"]


@pytest.mark.parametrize(("file", "service", "appends"), [("limits.conf", "limits", "no"), ("room.conf", "room-a", "yes"), ("room.conf", "room-b", "yes")])
def test_redis_keeps_what_it_has_and_fits_its_container(file: str, service: str, appends: str) -> None:
    text = (COMPOSE / file).read_text()
    assert said(text, "maxmemory-policy") == "noeviction"
    assert said(text, "appendonly") == appends
    assert mebibytes(said(text, "maxmemory")) <= 0.75 * mebibytes(SERVICES[service]["mem_limit"])
    assert said(text, "port") == "6379"


def test_a_server_of_the_room_keeps_what_sentinel_wrote() -> None:
    """Else the first and the last primary would change places with a restart of the host, and the older line would win."""
    for name in ("room-a", "room-b", "sentinel-1", "sentinel-2", "sentinel-3"):
        assert SERVICES[name]["volumes"] == [f"{name}:/data"]
        assert re.search(r"test -e (/data/\S+) \|\| .*> \1; exec valkey-\S+ \1$", SERVICES[name]["entrypoint"][2])


def test_sentinels_and_the_rooms_address_mean_the_same_servers() -> None:
    follows, watch = (COMPOSE / "room.cfg").read_text(), (COMPOSE / "sentinel.conf").read_text()
    address = {name: service["networks"]["inside"]["ipv4_address"] for name, service in SERVICES.items() if isinstance(service.get("networks"), dict)}
    (subnet,) = COMPOSED["networks"]["inside"]["ipam"]["config"]
    assert all(ipaddress.ip_address(one) in ipaddress.ip_network(subnet["subnet"]) for one in address.values())
    assert len(set(address.values())) == len(address)
    _, of, port, quorum = said(watch, "sentinel monitor").split()
    assert (of, port) == (address["room-a"], "6379")
    assert 2 * int(quorum) > len([name for name in address if name.startswith("sentinel-")])
    assert SERVICES["room-b"]["command"] == [f"replicaof {address['room-a']} 6379"]
    for letter in ("a", "b"):
        server = f"room-{letter}"
        assert f"server {server} {address[server]}:6379 " in follows
        votes = follows.split(f"backend named-{letter}\n")[1].split("\n\n")[0]
        assert f"expect string {address[server]}\n" in votes
        assert set(re.findall(r"server (\S+) (\S+):26379", votes)) == {(name, address[name]) for name in address if name.startswith("sentinel-")}
        assert f"use_backend {server} if {{ nbsrv(named-{letter}) ge {quorum} }}" in follows
