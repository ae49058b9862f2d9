"""The Kubernetes manifests: by Kubernetes' own schemas, and what they say to each other and to the code.

The PodMonitor and the adapter's rule are no part of Kubernetes and have no schema here: what they name is compared.
"""

import re
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest

from gateway import config, keys
from gateway.config import ENVIRONMENT
from gateway.errors import ConfigError
from gateway.metrics import BY_NAME
from tests.deploy.manifests import DEPLOY, KUBERNETES, PROJECT, documents, is_pinned, mebibytes, operators_paths, seconds

KUBERNETES_VERSION: Final = "1.34"
EXAMPLES: Final = KUBERNETES / "examples"
KUSTOMIZATION: Final[dict[str, Any]] = documents(KUBERNETES / "kustomization.yaml")[0]
SETTINGS: Final = config.load(KUBERNETES / "gateway.toml", {})
MANIFESTS: Final = [document for name in KUSTOMIZATION["resources"] for document in documents(KUBERNETES / name)]
OF_KUBERNETES: Final = [*MANIFESTS, *documents(EXAMPLES / "ingress.yaml"), *documents(EXAMPLES / "secret.yaml")]
SECRET: Final[dict[str, Any]] = documents(EXAMPLES / "secret.yaml")[0]
ALL_FILES: Final = sorted(KUBERNETES.rglob("*.yaml"))


def one(kind: str, name: str = "sluicegate") -> Any:
    (found,) = [manifest for manifest in OF_KUBERNETES if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)]
    return found["spec"]


GATEWAYS: Final = one("StatefulSet")
POD: Final = GATEWAYS["template"]["spec"]
CONTAINER: Final = POD["containers"][0]
LABELS: Final = GATEWAYS["template"]["metadata"]["labels"]
PORTS: Final = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
AUTOSCALER: Final = one("HorizontalPodAutoscaler")


@pytest.mark.parametrize("manifest", OF_KUBERNETES, ids=lambda manifest: f"{manifest['kind']}/{manifest['metadata']['name']}")
def test_the_schema_of_kubernetes_holds(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)


def test_all_files_are_applied_but_the_examples() -> None:
    here = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert here == set(KUSTOMIZATION["resources"])
    (settings,) = KUSTOMIZATION["configMapGenerator"]
    assert settings["files"] == ["gateway.toml"]
    assert settings["name"] == next(volume for volume in POD["volumes"] if volume["name"] == "settings")["configMap"]["name"]
    namespace = KUSTOMIZATION["namespace"]
    assert all(manifest["metadata"].get("namespace", namespace) == namespace for manifest in OF_KUBERNETES)
    assert [manifest["metadata"]["name"] for manifest in MANIFESTS if manifest["kind"] == "Namespace"] == [namespace]


def test_the_image_is_pinned() -> None:
    assert [container["image"] for container in POD["containers"]] == [f"sluicegate:{PROJECT['version']}"]
    assert all(is_pinned(f"{image['name']}:{image['newTag']}") for image in KUSTOMIZATION["images"])


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: path.name)
def test_no_secret_and_nothing_latest_is_in_a_file(path: Path) -> None:
    text = path.read_text()
    assert ":latest" not in text
    assert not re.search(r"[A-Za-z0-9_-]{40,}", text), "a key is about as long"


def test_the_placeholder_of_the_keys_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(SECRET["stringData"]["keys.json"])
    with pytest.raises(ConfigError, match="at least one key"):
        keys.load(tmp_path / "keys.json")


def test_what_the_pod_takes_from_the_secret_is_in_it() -> None:
    taken = [variable["valueFrom"]["secretKeyRef"] for variable in CONTAINER["env"]]
    (volume,) = [volume["secret"] for volume in POD["volumes"] if "secret" in volume]
    assert {given["name"] for given in taken} | {volume["secretName"]} == {SECRET["metadata"]["name"]}
    assert {given["key"] for given in taken} | {item["key"] for item in volume["items"]} == SECRET["stringData"].keys()
    assert volume["defaultMode"] == 0o440


def test_names_of_the_environment_are_known_and_what_they_bring_loads() -> None:
    assert {variable["name"] for variable in CONTAINER["env"]} <= ENVIRONMENT.keys()
    brought = {variable["name"]: SECRET["stringData"][variable["valueFrom"]["secretKeyRef"]["key"]] for variable in CONTAINER["env"]}
    loaded = config.load(KUBERNETES / "gateway.toml", brought)
    assert (loaded.redis.url, loaded.redis.room_url) == (SECRET["stringData"]["redis-url"], SECRET["stringData"]["redis-room-url"])


# The pod


def test_it_has_longer_to_end_than_it_drains() -> None:
    assert POD["terminationGracePeriodSeconds"] > SETTINGS.process.drain_s
    assert "lifecycle" not in CONTAINER


def test_a_drain_is_seen_while_it_serves_on() -> None:
    probe = CONTAINER["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < SETTINGS.process.drain_lag_s


@pytest.mark.parametrize(("probe", "path"), [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")])
def test_probes_ask_the_operators_port_for_what_it_answers(probe: str, path: str) -> None:
    asked = CONTAINER[probe]["httpGet"]
    assert asked["path"] == path
    assert path in operators_paths()
    assert asked["port"] == "ops"
    assert PORTS["ops"] == int(SETTINGS.ops.bind.rpartition(":")[2])


def test_it_is_nobodys_and_may_nothing() -> None:
    pod, container = POD["securityContext"], CONTAINER["securityContext"]
    assert pod["runAsNonRoot"] is True
    user = re.search(r"^USER (\d+):(\d+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert user
    assert (pod["runAsUser"], pod["runAsGroup"]) == (int(user[1]), int(user[2])), "the image's, which owns /data there"
    assert pod["fsGroup"] == pod["runAsGroup"]
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert POD["automountServiceAccountToken"] is False


def test_it_writes_to_its_claim_and_finds_settings_and_keys() -> None:
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    assert mounts["data"]["mountPath"] == SETTINGS.process.data_dir
    assert [claim["metadata"]["name"] for claim in GATEWAYS["volumeClaimTemplates"]] == ["data"]
    assert f"{mounts['keys']['mountPath']}/keys.json" == SETTINGS.identity.keys_file
    assert f'"{mounts["settings"]["mountPath"]}/gateway.toml"' in (DEPLOY / "Dockerfile").read_text()
    assert {name for name, mount in mounts.items() if not mount.get("readOnly")} == {"data", "tmp"}
    assert mounts.keys() == {volume["name"] for volume in POD["volumes"]} | {"data"}
    assert set(GATEWAYS["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}


def test_it_asks_for_a_core_a_worker_and_is_not_throttled() -> None:
    resources = CONTAINER["resources"]
    assert int(resources["requests"]["cpu"].removesuffix("m")) >= 1000 * SETTINGS.process.workers
    assert "cpu" not in resources["limits"]
    assert mebibytes(resources["limits"]["memory"]) >= 400 * SETTINGS.process.workers + 100
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


# The fleet


def test_the_fleet_is_no_larger_than_the_room_is_told() -> None:
    assert "replicas" not in GATEWAYS, "the autoscaler's to say"
    assert AUTOSCALER["maxReplicas"] * SETTINGS.process.workers <= SETTINGS.room.fleet_workers_max


def test_the_budget_lets_a_node_go_and_leaves_gateways_standing() -> None:
    budget = one("PodDisruptionBudget")
    assert 0 < budget["maxUnavailable"] < AUTOSCALER["minReplicas"]


def test_everything_selects_these_pods() -> None:
    selectors = [
        GATEWAYS["selector"]["matchLabels"],
        one("Service")["selector"],
        one("Service", "sluicegate-ops")["selector"],
        one("PodDisruptionBudget")["selector"]["matchLabels"],
        one("NetworkPolicy")["podSelector"]["matchLabels"],
        *(constraint["labelSelector"]["matchLabels"] for constraint in POD["topologySpreadConstraints"]),
        documents(EXAMPLES / "pod-monitor.yaml")[0]["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector == LABELS for selector in selectors)
    assert AUTOSCALER["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "sluicegate"}


def test_the_autoscaler_goes_by_a_gauge_of_the_workers_that_the_adapter_serves() -> None:
    (metric,) = AUTOSCALER["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert BY_NAME[name].kind == "gauge"
    assert not BY_NAME[name].is_supervisors
    (rule,) = documents(EXAMPLES / "prometheus-adapter.yaml")[0]["rules"]
    assert rule["seriesQuery"].partition("{")[0] == name
    assert rule["name"] == {"matches": "^(.*)$", "as": "$1"}
    assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}


def test_the_operators_port_is_scraped_and_not_exposed() -> None:
    (endpoint,) = documents(EXAMPLES / "pod-monitor.yaml")[0]["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "ops"
    assert endpoint["path"] in operators_paths()
    ops = one("Service", "sluicegate-ops")
    assert ops["clusterIP"] == "None"
    assert GATEWAYS["serviceName"] == "sluicegate-ops"
    assert [port["targetPort"] for port in one("Service")["ports"]] == ["http"]
    public, scrapes = one("NetworkPolicy")["ingress"]
    assert (public["ports"], scrapes["ports"]) == ([{"port": "http"}], [{"port": "ops"}])
    assert all(rule["from"] for rule in (public, scrapes)), "an empty list is everybody"


def test_the_ingress_reaches_the_public_port_and_waits_for_honest_answers() -> None:
    ingress = one("Ingress")
    backends = [path["backend"]["service"] for rule in ingress["rules"] for path in rule["http"]["paths"]]
    assert backends == [{"name": "sluicegate", "port": {"name": "http"}}]
    assert {host for entry in ingress["tls"] for host in entry["hosts"]} == {rule["host"] for rule in ingress["rules"]}
    (manifest,) = documents(EXAMPLES / "ingress.yaml")
    waits_s = seconds(manifest["metadata"]["annotations"]["haproxy.org/timeout-server"])
    assert SETTINGS.http.body_timeout_s + SETTINGS.deliver.timeout_ms / 1000 < waits_s < SETTINGS.http.keepalive_s


def test_where_it_may_go_is_where_its_settings_send_it() -> None:
    allowed = {
        (rule["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port["port"])
        for rule in one("NetworkPolicy")["egress"]
        for port in rule["ports"]
    }
    meant = [SETTINGS.deliver.bootstrap, *(url.partition("@")[2].partition("/")[0] for key, url in SECRET["stringData"].items() if key.endswith("-url"))]
    for address in meant:
        host, _, port = address.partition(":")
        assert (host.split(".")[1], int(port)) in allowed, address
