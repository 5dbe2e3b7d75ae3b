"""Alerts and the dashboard ask for what is told, and every alert says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.command_side import an_event, command_side
from tests.deploy.files import ROOT, SERVICES, read, run, tool
from tests.e2e.served import free_port, served, until
from tests.e2e.test_serving import ANN, EVENT
from tests.kafka_topics import NEEDS_KAFKA, own_topic, url_of

RULES = ("deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_servers.yml")
DASHBOARD = "deploy/grafana/dashboards/myevents.json"

METRICS = {
    "myevents_bookings_count": {"eventID", "eventName"},
    "myevents_seats_per_booking": set[str](),
    "myevents_commands_total": {"command", "outcome"},
    "myevents_command_queue_depth": {"partition"},
    "myevents_round_size": set[str](),
    "myevents_commit_seconds": set[str](),
    "myevents_relay_sent_total": {"partition"},
    "myevents_relay_lag_facts": {"partition"},
    "myevents_relay_lag_seconds": set[str](),
    "myevents_relay_leads": {"partition"},
    "myevents_audit_differences": {"partition"},
    "myevents_audit_finished_timestamp_seconds": set[str](),
    "myevents_projector_lag_facts": {"model"},
    "myevents_projector_lag_seconds": {"model"},
    "myevents_projector_heartbeat_age_seconds": {"model"},
    "myevents_parked_streams": {"model"},
    "myevents_facts_applied_total": {"model"},
    "myevents_log_irregularities_total": {"kind"},
    "myevents_pool_connections": {"pool", "state"},
    "myevents_cache_requests_total": {"cache", "outcome"},
    "myevents_graphql_cost": set[str](),
    "myevents_http_requests_total": {"service", "method", "route", "status"},
    "myevents_http_request_seconds": {"service", "route"},
}
"""What the services tell, and its labels."""

RELAYED = re.compile(r"myevents_(relay|audit)_")
"""What only a relay tells."""

OTHERS = {
    "up": set[str](),
    "kubelet_volume_stats_available_bytes": set[str](),
    "kubelet_volume_stats_capacity_bytes": set[str](),
    "node_filesystem_avail_bytes": {"fstype"},
    "node_filesystem_size_bytes": {"fstype"},
    "pg_replication_slot_slot_is_active": {"slot_name"},
}
"""What Prometheus itself tells, and the exporters that watch disks and PostgreSQL."""

_SCRAPED = {"job", "instance", "le"}
_WORDS = {
    *("sum", "max", "min", "count", "by", "on", "and", "or", "offset", "rate", "increase", "histogram_quantile"),
    *("absent", "time", "vector", "topk", "predict_linear"),
}


def alerts() -> list[dict[str, object]]:
    return [rule for path in RULES for group in yaml.safe_load(read(path))["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    for alert in alerts():
        yield str(alert["expr"])
    for panel in json.loads(read(DASHBOARD))["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "1m")


def asked(expression: str) -> tuple[dict[str, set[str]], set[str]]:
    """The metrics of an expression with the labels that select from them, and those that it groups by."""
    groups = {
        label.strip() for labels in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression) for label in labels.split(",")
    }
    bare = re.sub(r"\b(?:by|on)\s*\([^)]*\)", "", expression)
    metrics: dict[str, set[str]] = {}
    for name, selectors in re.findall(
        r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?", re.sub(r"\[[^\]]*\]|\boffset \w+", "", bare)
    ):
        if name not in _WORDS and f'"{name}' not in bare:
            metrics.setdefault(name, set()).update(re.findall(r"(\w+)\s*[!=]", selectors))
    return metrics, groups


def known(name: str) -> set[str]:
    """The labels of a metric; of a histogram also under the names of its parts."""
    told = METRICS | OTHERS
    family = name if name in told else re.sub(r"_(bucket|sum|count)$", "", name)
    assert family in told, f"nobody tells {name}"
    return told[family] | _SCRAPED


def test_every_metric_and_label_that_is_asked_for_is_told() -> None:
    for expression in expressions():
        metrics, groups = asked(expression)
        assert metrics, expression
        for name, labels in metrics.items():
            assert labels <= known(name), expression
            assert groups <= set().union(*(known(other) for other in metrics)), expression


async def told(client: httpx.AsyncClient, port: int) -> dict[str, set[str]]:
    """The metrics that a service tells, each with its labels."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families((await client.get(f"http://127.0.0.1:{port}/metrics")).text):
        for sample in family.samples:
            name = sample.name if sample.name in METRICS else re.sub(r"_(bucket|sum|count)$", "", sample.name)
            found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    return found


async def test_what_is_told_is_what_is_asked_for(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    with served(database_url, tmp_path, settings={"MYEVENTS_METRICS_PORT": str(port)}) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers=ANN, timeout=10) as client:
            event = (await client.post("/api/events", json=EVENT)).json()["id"]
            booked = await client.post(f"/api/events/{event}/bookings", json={"seats": 1})
            position = {"MyEvents-Position": booked.headers["MyEvents-Position"]}
            await client.post("/graphql", json={"query": "{ events { nodes { id } } }"}, headers=position)
            found = await told(client, port)
    here = {name: labels for name, labels in METRICS.items() if not RELAYED.match(name)}
    assert {name: found.get(name) for name in here} == here


@NEEDS_KAFKA
async def test_what_a_relay_tells_is_what_is_asked_for(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    # The moment of the last audit is told after the first one, which takes its time.
    relayed = {name: labels for name, labels in METRICS.items() if RELAYED.match(name) and "finished" not in name}
    async with own_topic() as address, httpx.AsyncClient(timeout=10) as client, command_side(database_url) as service:
        await an_event(service)
        settings = {"MYEVENTS_METRICS_PORT": str(port), "MYEVENTS_LOG_URL": url_of(address)}
        with served(database_url, tmp_path, "relay", settings) as relay:
            await relay.start()

            async def all_told() -> bool:
                found = await told(client, port)
                return {name: found.get(name) for name in relayed} == relayed

            await until(all_told)


def test_an_unknown_metric_or_label_would_be_found() -> None:
    metrics, groups = asked('sum by (kind) (rate(myevents_told_total{sort="x", way!~"y|z"}[5m] offset 1d)) > 0.5')
    assert metrics == {"myevents_told_total": {"sort", "way"}}
    assert groups == {"kind"}
    with pytest.raises(AssertionError, match="nobody tells"):
        known("myevents_told_total")


def test_every_metric_is_shown_or_watched() -> None:
    everything = {name for expression in expressions() for name in asked(expression)[0]}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in METRICS else name for name in everything}
    assert set(METRICS) <= shown


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    operations = read("docs/operations.md")
    runbooks = re.findall(r"^### (\w+)$", operations.partition("\n## Alerts\n")[2], re.MULTILINE)
    assert [alert["alert"] for alert in alerts()] == runbooks
    for alert in alerts():
        annotations = alert["annotations"]
        assert isinstance(annotations, dict)
        assert annotations["runbook_url"] == f"docs/operations.md#{str(alert['alert']).lower()}"


def test_every_service_is_asked_for_its_metrics() -> None:
    jobs = {job["job_name"]: job for job in yaml.safe_load(read("deploy/prometheus/prometheus.yml"))["scrape_configs"]}
    assert {name: job["dns_sd_configs"][0]["port"] for name, job in jobs.items()} == SERVICES


def test_prometheus_takes_the_rules_and_its_settings() -> None:
    promtool = tool("promtool")
    run(promtool, "check", "rules", *RULES)
    for settings in ("prometheus.yml", "kubernetes.yml"):
        run(promtool, "check", "config", "--syntax-only", f"deploy/prometheus/{settings}")


def test_alerts_fire_when_they_should_and_only_then() -> None:
    run(tool("promtool"), "test", "rules", str(ROOT / "tests/deploy/alerts_test.yml"))
