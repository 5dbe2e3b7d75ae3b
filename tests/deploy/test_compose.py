"""`docker compose up` starts everything, and opens nothing to other machines."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.deploy.files import SERVICES, read, run, tool


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(read("docker-compose.yml"))["services"]
    return found


def test_docker_compose_takes_the_file() -> None:
    run(tool("compose"), "--file", "docker-compose.yml", "config", "--quiet")


def test_all_services_and_their_servers_are_there() -> None:
    servers = {"postgres", "kafka", "elasticsearch", "redis", "prometheus", "grafana", "backup"}
    assert set(services()) == {*SERVICES, *servers, "migrate", "import"}


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_service_of_ours_can_write_to_its_image_or_gain_rights() -> None:
    for name in (*SERVICES, "migrate", "import"):
        service = services()[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_whoever_serves_is_watched_and_waits_for_the_migration() -> None:
    for name, port in SERVICES.items():
        service = services()[name]
        settings = service["environment"]
        assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}, name
        assert settings["MYEVENTS_METRICS_PORT"] == str(port), name
        assert settings["HEALTH_URL"].endswith("/readyz"), name
    for name in set(services()) - {*SERVICES, "migrate", "import"}:
        assert services()[name]["healthcheck"]["test"], name


def test_each_service_logs_in_as_its_own_role_and_only_those_who_look_after_the_database_as_its_owner() -> None:
    logins = {
        name: urlsplit(service["environment"]["MYEVENTS_DATABASE_URL"]).username
        for name, service in services().items()
        if "MYEVENTS_DATABASE_URL" in (service.get("environment") or {})
    }
    owner = dict.fromkeys(("migrate", "import"), "myevents")
    assert logins == {name: f"myevents_{name}" for name in SERVICES} | owner
    given = services()["migrate"]["environment"]
    for name in SERVICES:
        password = given[f"MYEVENTS_{name.upper()}_PASSWORD"]
        assert f":{password}@" in services()[name]["environment"]["MYEVENTS_DATABASE_URL"], name


def test_booking_waits_for_postgresql_alone() -> None:
    assert set(services()["command"]["depends_on"]) == {"migrate"}


def test_every_image_of_others_has_a_version() -> None:
    images = [service["image"] for service in services().values() if "build" not in service]
    assert images
    assert all(":" in image.rpartition("/")[2] and not image.endswith(":latest") for image in images)
