"""Redis hangs, fills up and dies under load: no query and no booking fails, and it is used again when it is back."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import httpx

from tests.e2e.served import served, until
from tests.redis_server import needs_redis_server, redis_server

EVENT = {
    "name": "A talk",
    "startsAt": "2027-05-01T10:00:00+02:00",
    "endsAt": "2027-05-01T12:00:00+02:00",
    "online": True,
    "capacity": 1_000_000,
}
ANN = {"MyEvents-User": "usr_ann"}
LIST = "{ events(first: 50) { nodes { id name seatsBooked } } }"
ONE = "query($id: ID!) { event(id: $id) { seatsBooked } }"


@needs_redis_server
async def test_nothing_fails_while_redis_is_lost_in_every_way(database_url: str, tmp_path: Path) -> None:
    async with redis_server(tmp_path) as redis:
        settings = {"MYEVENTS_CACHE_URL": redis.url}
        with (
            served(database_url, tmp_path, settings=settings) as one,
            served(database_url, tmp_path, "query", settings) as other,
        ):
            await one.start()
            await other.start()
            async with (
                httpx.AsyncClient(base_url=one.url, headers=ANN, timeout=10) as client,
                httpx.AsyncClient(base_url=other.url, headers=ANN, timeout=10) as reader,
            ):
                made = await client.post("/api/events", json=EVENT)
                event, position = made.json()["id"], {"MyEvents-Position": made.headers["MyEvents-Position"]}
                await reader.get(f"/api/events/{event}", headers=position)
                answered, ending = Counter[str](), asyncio.Event()

                async def reads(number: int) -> None:
                    least = 0
                    while not ending.is_set():
                        asked = (client, reader)[number % 2]
                        body = {"query": LIST} if number % 3 else {"query": ONE, "variables": {"id": event}}
                        answer = await asked.post("/graphql", json=body)
                        assert (answer.status_code, "errors" in answer.json()) == (200, False), answer.text
                        data = answer.json()["data"]
                        seats = (data.get("event") or data["events"]["nodes"][0])["seatsBooked"]
                        assert seats >= least, "it went back in time"
                        least = seats
                        answered["query"] += 1

                async def books() -> None:
                    while not ending.is_set():
                        booked = await client.post(f"/api/events/{event}/bookings", json={"seats": 1})
                        assert booked.status_code == 201, booked.text
                        answered["booking"] += 1
                        position = {"MyEvents-Position": booked.headers["MyEvents-Position"]}
                        body = {"query": ONE, "variables": {"id": event}}
                        answer = (await reader.post("/graphql", json=body, headers=position)).json()
                        if "stale" not in answer["extensions"]:
                            assert answer["data"]["event"]["seatsBooked"] >= answered["booking"]
                        await asyncio.sleep(0.02)

                async def goes_on() -> None:
                    before = dict(answered)
                    await until(lambda: _grown(answered, before))

                async def is_filled() -> bool:
                    async with redis.client() as look:
                        return bool(await look.dbsize())

                async def lose() -> None:
                    await until(is_filled)
                    for _ in range(2):
                        redis.signal(signal.SIGSTOP)
                        await goes_on()
                        await asyncio.sleep(2)
                        redis.signal(signal.SIGCONT)
                        await goes_on()
                        redis.signal(signal.SIGKILL)
                        await goes_on()
                        await asyncio.sleep(1)
                        await redis.start()
                        await until(is_filled)
                    async with redis.client() as look:
                        await look.config_set("maxmemory", "1")
                    await goes_on()
                    ending.set()

                async with asyncio.TaskGroup() as together:
                    for work in (*(reads(number) for number in range(8)), books(), lose()):
                        together.create_task(work)
                await until(lambda: _shown(client, event, answered["booking"]))


async def _grown(answered: Counter[str], before: dict[str, int]) -> bool:
    return all(answered[what] > before.get(what, 0) + 5 for what in ("query", "booking"))


async def _shown(client: httpx.AsyncClient, event: str, seats: int) -> bool:
    told: int = (await client.get(f"/api/events/{event}")).json()["seatsBooked"]
    return told == seats
