"""What Kubernetes is told is valid, locked down, and agrees with itself."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from tests.deploy.files import ROOT, SERVICES, documents, run, tool

BASE = ROOT / "deploy/kubernetes/base"
OVERLAYS = ("development", "production")
SECRETS = {
    "postgres": "MYEVENTS_DATABASE_URL",
    "elasticsearch": "MYEVENTS_SEARCH_URL",
    "redis": "MYEVENTS_CACHE_URL",
}


def base() -> list[dict[str, Any]]:
    files = sorted(path for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml")
    return [document for path in files for document in documents(path.read_text())]


def built(overlay: str) -> list[dict[str, Any]]:
    return documents(run(tool("kustomize"), "build", f"deploy/kubernetes/overlays/{overlay}"))


def of(kind: str) -> dict[str, dict[str, Any]]:
    return {document["metadata"]["name"]: document for document in base() if document["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    return {name: workload["spec"]["template"] for kind in ("Deployment", "Job") for name, workload in of(kind).items()}


def valid(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_every_document_is_valid() -> None:
    valid(base())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_valid_and_has_a_namespace_of_its_own(overlay: str) -> None:
    found = built(overlay)
    valid(found)
    namespaces = [document["metadata"]["name"] for document in found if document["kind"] == "Namespace"]
    assert len(namespaces) == 1
    assert {document["metadata"].get("namespace", namespaces[0]) for document in found} == set(namespaces)
    images = {
        container["image"]
        for document in found
        if document["kind"] in ("Deployment", "Job")
        for container in document["spec"]["template"]["spec"]["containers"]
    }
    assert len(images) == 1
    assert not {"myevents", "myevents:latest"} & images


def test_production_brings_no_secret_along() -> None:
    assert not [document for document in built("production") if document["kind"] == "Secret"]


def test_pods_are_locked_down() -> None:
    assert set(pods()) == {*SERVICES, "migrate"}
    for name, pod in pods().items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name
            assert container["args"] == [name]


def test_secrets_come_by_reference_alone() -> None:
    for name, pod in pods().items():
        for variable in pod["spec"]["containers"][0]["env"]:
            told = variable["name"].removeprefix("MYEVENTS_")
            assert ("valueFrom" in variable) == (told != "METRICS_PORT"), (name, variable)


def test_only_the_migration_is_told_the_owners_login() -> None:
    for name, pod in pods().items():
        keys = {
            variable["name"]: variable["valueFrom"]["secretKeyRef"]["key"]
            for variable in pod["spec"]["containers"][0]["env"]
            if "valueFrom" in variable
        }
        prefix = "" if name == "migrate" else f"{name}-"
        assert keys["MYEVENTS_DATABASE_URL"] == f"{prefix}database-url", name
        assert keys.get("MYEVENTS_READ_DATABASE_URL", f"{prefix}read-database-url") == f"{prefix}read-database-url", (
            name
        )
        passwords = {key for key in keys.values() if key.endswith("-password")}
        assert passwords == ({f"{service}-password" for service in SERVICES} if name == "migrate" else set()), name


def test_each_service_is_probed_where_it_answers_and_has_time_to_end() -> None:
    for name, port in SERVICES.items():
        spec = pods()[name]["spec"]
        container = spec["containers"][0]
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert ports["metrics"] == port
        assert {"name": "MYEVENTS_METRICS_PORT", "value": str(port)} in container["env"]
        asked = "http" if "http" in ports else "metrics"
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": asked}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": asked}
        # 5 s until nobody sends more (MYEVENTS_STOP_DELAY), 10 s to end.
        assert spec["terminationGracePeriodSeconds"] >= 20


def test_losing_a_node_or_draining_it_leaves_one_of_each() -> None:
    assert set(of("PodDisruptionBudget")) == set(SERVICES)
    for name in SERVICES:
        assert of("Deployment")[name]["spec"]["replicas"] >= 2
        assert of("PodDisruptionBudget")[name]["spec"]["maxUnavailable"] == 1
        spread = pods()[name]["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    scaled = {scaler["spec"]["scaleTargetRef"]["name"] for scaler in of("HorizontalPodAutoscaler").values()}
    assert scaled == {"command", "query"}


def test_whoever_uses_a_server_may_talk_to_it_and_nobody_else() -> None:
    policies = of("NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    used = {
        name: {
            label.removeprefix("myevents/uses-")
            for label in pod["metadata"]["labels"]
            if label.startswith("myevents/uses-")
        }
        for name, pod in pods().items()
    }
    assert {f"to-{server}" for servers in used.values() for server in servers} <= set(policies)
    assert all("postgres" in servers for servers in used.values())
    for name, pod in pods().items():
        given = {variable["name"] for variable in pod["spec"]["containers"][0]["env"]}
        assert {server for server, secret in SECRETS.items() if secret in given} == used[name] - {"kafka"}, name
    assert "kafka" not in used["command"], "booking needs no Kafka"
    assert "kafka" in used["relay"] & used["projector"]


def test_the_ingress_has_tls_for_all_its_hosts_and_shows_nothing_from_inside() -> None:
    spec = of("Ingress")["myevents"]["spec"]
    assert {host for tls in spec["tls"] for host in tls["hosts"]} == {rule["host"] for rule in spec["rules"]}
    paths = {path["path"] for rule in spec["rules"] for path in rule["http"]["paths"]}
    assert paths == {"/graphql", "/command", "/api", "/graphiql"}
