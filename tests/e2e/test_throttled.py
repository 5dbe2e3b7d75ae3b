"""Limits of how often a caller may ask, over HTTP, and who is believed to be where."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.e2e.served import served

LIMITS = {"MYEVENTS_REQUESTS_PER_MINUTE": "4", "MYEVENTS_COMMANDS_PER_MINUTE": "2"}


async def asked(client: httpx.AsyncClient, times: int, **forwarded: str) -> list[int]:
    """What a caller is answered who says to be forwarded for somebody."""
    headers = {"X-Forwarded-For": forwarded["by"]} if forwarded else {}
    return [(await client.get("/api/events", headers=headers)).status_code for _ in range(times)]


async def test_nobody_gets_more_by_saying_to_be_elsewhere(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path, settings=LIMITS) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url) as client:
            answers = [status for n in range(6) for status in await asked(client, 1, by=f"198.51.100.{n}")]
            assert answers == [200] * 4 + [429] * 2
            event = {"name": "A talk", "online": True, "capacity": 1, "startsAt": "2027-05-01T10:00:00Z"}
            body = {**event, "endsAt": "2027-05-01T12:00:00Z"}
            made = [await client.post("/api/events", json=body, headers={"MyEvents-User": "usr_ann"}) for _ in range(3)]
            assert [answer.status_code for answer in made] == [201, 201, 429]
            assert made[2].json()["code"] == "OVERLOADED"
            assert 1 <= int(made[2].headers["Retry-After"]) <= 60
            assert (await client.get("/healthz")).status_code == 200


async def test_a_proxy_that_is_trusted_says_where_its_callers_are(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path, settings={**LIMITS, "MYEVENTS_TRUSTED_PROXIES": "127.0.0.1"}) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url) as client:
            assert await asked(client, 5, by="198.51.100.1") == [200] * 4 + [429]
            assert await asked(client, 1, by="198.51.100.2") == [200]
            # What a caller has put before what the proxy knows is not believed.
            assert await asked(client, 1, by="203.0.113.7, 198.51.100.1") == [429]


async def test_without_a_setting_nobody_is_limited(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url) as client:
            assert set(await asked(client, 200)) == {200}
