"""What the services write down: for programs to read, and nothing that is somebody's."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from tests.e2e.otlp import receiver
from tests.e2e.served import PROGRAM, Served, environment, free_port, served
from tests.e2e.test_serving import EVENT

PRIVATE = {"MyEvents-User": "usr_zaphod", "Idempotency-Key": "zaphods-key"}
SECRET = "hunter2/with@odd:chars"


def lines(service: Served) -> list[dict[str, Any]]:
    """The log's lines; people are spoken to in lines that are no JSON."""
    return [json.loads(line) for line in service.said().splitlines() if line.startswith("{")]


async def book(service: Served, times: int = 1) -> None:
    """Let somebody book seats of a new event, and ask for what cannot be."""
    # A connection on which something failed is closed.
    headers = PRIVATE | {"Connection": "close"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=20) as client:
        made = await client.post("/api/events", json=EVENT, headers={"Idempotency-Key": "zaphods-event"})
        event = made.json()["id"] if made.is_success else "evt_none"
        for _ in range(times):
            key = {"Idempotency-Key": f"zaphods-{time.monotonic_ns()}"}
            await client.post(f"/api/events/{event}/bookings", json={"seats": 1}, headers=key)
        await client.post(f"/api/events/{event}/bookings", json={"seats": "zaphod"})
        await client.post("/command", json={"query": '{ health(zaphod: "zaphod") }'})
        await client.get("/api/zaphod?zaphod=zaphod")


async def test_each_request_is_one_line_with_its_trace_where_that_is_asked_for(
    database_url: str, tmp_path: Path
) -> None:
    with receiver() as collector:
        told = {"MYEVENTS_ACCESS_LOG": "1", "MYEVENTS_TRACES_URL": collector.url, "MYEVENTS_TRACES_RATIO": "1"}
        with served(database_url, tmp_path, "command", told) as service:
            await service.start()
            await book(service)
            assert service.stop() == 0
            requests = [line for line in lines(service) if line["event"] == "request"]
        booking = [line for line in requests if line["route"] == "/api/events/{id}/bookings"]
        assert [line["status"] for line in booking] == ["201", "400"]
        (call, _) = collector.named("POST /api/events/{id}/bookings")
        assert (booking[0]["trace_id"], booking[0]["span_id"]) == (call.trace, call.span)
        assert {line["service"] for line in requests} == {"command"}
        assert {line["level"] for line in requests} == {"info"}
        assert all(line["timestamp"].endswith("Z") for line in requests)


async def test_nobody_asked_for_a_line_for_each_request_and_none_is_written(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path, "command") as service:
        await service.start()
        await book(service)
        assert [line for line in lines(service) if line["event"] == "request"] == []


@pytest.mark.parametrize("name", ["serve", "command"])
async def test_nothing_that_is_somebody_s_stands_in_a_log_a_metric_or_an_error(
    database_url: str, tmp_path: Path, name: str
) -> None:
    port = free_port()
    told = {"MYEVENTS_ACCESS_LOG": "1", "MYEVENTS_METRICS_PORT": str(port), "MYEVENTS_SECRET": SECRET}
    with served(database_url, tmp_path, name, told) as service:
        await service.start()
        await book(service, times=3)
        # From now on each round fails, and so does each read: with what the database says of it.
        connection = await asyncpg.connect(database_url)
        await connection.execute("alter table facts add constraint small check (length(metadata::text) < 10) not valid")
        await book(service)
        await connection.execute("drop table command_answers cascade")
        await book(service)
        await connection.close()
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        failed = [line for line in lines(service) if line["event"] == "command_failed"]
        assert {line["error"][0] for line in failed} >= {"CheckViolationError", "UndefinedTableError"}
        assert all(any("writer.py" in place for place in line["at"]) for line in failed), failed
        said = service.said()
    assert "myevents_bookings_count" in metrics
    for text in (said, metrics):
        assert "zaphod" not in text
        assert SECRET not in text


def with_password(url: str, password: str) -> str:
    """The URL of the database, for somebody who has that password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"nobody:{password}@{parts.hostname or 'localhost'}:{parts.port or 5432}"))


@pytest.mark.parametrize("password", ["hunter2", "hunter2/3", "hunter2%zz", "hunter2@x:y"])
@pytest.mark.parametrize("program", [["query"], ["verify"]])
def test_a_database_that_refuses_us_is_told_without_the_password(
    database_url: str, tmp_path: Path, password: str, program: list[str]
) -> None:
    told = environment(with_password(database_url, password), tmp_path) | {"MYEVENTS_PORT": str(free_port())}
    done = subprocess.run([PROGRAM, *program], env=told, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (1, 2), done.stderr
    assert "cannot go on" in done.stderr or "MYEVENTS_DATABASE_URL" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
