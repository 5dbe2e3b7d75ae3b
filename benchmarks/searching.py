"""The search in Elasticsearch: rebuilding it, searching it beside the embedded index, and booking to searchable.

python -m benchmarks.searching URL [--facts N] [--searches N] [--bookings N]: makes indexes of its own on the server
at URL, and deletes them afterwards. PostgreSQL, Elasticsearch, our processes and callers share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import httpx
import uvloop

from benchmarks.latency import show
from benchmarks.reading_http import QUERIES, SAMPLE, SEARCH, asked, new, settled
from benchmarks.rebuild import fresh_database, history, put
from benchmarks.service import service
from myevents.embedded import EmbeddedPostgres
from myevents.log.store import StoreLog
from myevents.search.elastic.address import address_of
from myevents.search.elastic.builds import ElasticBuilds
from myevents.store import open_pool
from projector.run import Projector
from projector.search import SearchProjector
from projector.search_verify import verify_search
from schema.tables import PARTITIONS

TIMES = {"startsAt": "2027-05-01T10:00:00+02:00", "endsAt": "2027-05-01T12:00:00+02:00"}


async def rebuilding(dsn: str, search: str, count: int) -> None:
    """Fill an index from `count` facts by following the log, then anew by `myevents rebuild search`."""
    await put(dsn, history(count))
    pool = await open_pool(dsn, size=8)
    log, builds = StoreLog(pool, PARTITIONS), ElasticBuilds(address_of(search))
    await Projector(log=log, pool=pool).prepare()
    searcher = SearchProjector(log=log, pool=pool, builds=builds)
    await searcher.prepare()
    begun = time.perf_counter()
    await searcher.catch_up()
    taken = time.perf_counter() - begun
    print(f"catching up: {count} facts in {taken:.1f} s, {count / taken:,.0f} facts/s")
    begun = time.perf_counter()
    most = await _most_memory(dsn, search, ["rebuild", "search"])
    taken = time.perf_counter() - begun
    print(f"rebuild search: {count} facts in {taken:.1f} s, {count / taken:,.0f} facts/s, at most {most:,} MiB")
    begun = time.perf_counter()
    problems = await verify_search(log=log, pool=pool, builds=builds)
    print(f"verified in {time.perf_counter() - begun:.1f} s")
    if problems:
        raise SystemExit(f"wrong: {problems[:5]}")
    await builds.close()
    await log.close()
    await pool.close()


async def searching(dsn: str, search: str, calls: int, made: Path) -> None:
    """The same searches of the sample in both engines, over HTTP."""
    urls = {"Elasticsearch": search, "embedded": f"embedded:{made / 'search'}"}
    requests: list[dict[str, object]] = [{"query": SEARCH, "variables": {"q": text}} for text in QUERIES]
    rows: dict[int, list[tuple[str, float, list[float]]]] = {1: [], 8: []}
    answers = []
    for name, url in urls.items():
        async with service(["-m", "myevents", "serve", "--sample", SAMPLE], dsn, search=url) as port:
            await settled(port)
            answers.append(await _answers(port, requests))
            for callers, measured in rows.items():
                measured.append((name, *await asked(port, new(requests), calls, callers)))
    if answers[0] != answers[1]:
        raise SystemExit("wrong: the two engines answer differently")
    for callers, measured in rows.items():
        show(f"Search over HTTP, 20 hits with highlights and location, {callers} at once", measured)


async def appearing(dsn: str, search: str, bookings: int) -> None:
    """How long until a search shows a booking, while others book."""
    async with (
        service(["-m", "myevents", "serve"], dsn, search=search) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"MyEvents-User": "usr_ann"}) as client,
    ):
        event = await _created(client, "Vogel")
        crowd = [await _created(client, f"Other {number}") for number in range(20)]
        done, others = asyncio.Event(), 0

        async def book(number: int) -> None:
            nonlocal others
            while not done.is_set():
                answer = await client.post(f"/api/events/{crowd[number]}/bookings", json={"seats": 1})
                others += answer.status_code == 201
                await asyncio.sleep(0.02)

        crowded = asyncio.gather(*(book(number) for number in range(20)))
        taken, begun = list[float](), time.perf_counter()
        for number in range(1, bookings + 1):
            (await client.post(f"/api/events/{event}/bookings", json={"seats": 1})).raise_for_status()
            booked = time.perf_counter()
            while await _seats(client) != number:  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(0.005)
            taken.append(time.perf_counter() - booked)
        done.set()
        await crowded
        lasted = time.perf_counter() - begun
    title = f"Booking to searchable in Elasticsearch, beside {others / lasted:,.0f} bookings a second"
    show(title, [("one booking", bookings / lasted, sorted(taken))])


async def _created(client: httpx.AsyncClient, name: str) -> str:
    body = {**TIMES, "name": name, "online": True, "capacity": 100_000}
    made = await client.post("/api/events", json=body)
    return str(made.raise_for_status().json()["id"])


async def _seats(client: httpx.AsyncClient) -> int:
    """Seats booked of the one event, as a search shows it."""
    query = '{ searchEvents(search: "vogel", first: 1) { nodes { event { capacity seatsAvailable } } } }'
    nodes = (await client.post("/graphql", json={"query": query})).json()["data"]["searchEvents"]["nodes"]
    return nodes[0]["event"]["capacity"] - nodes[0]["event"]["seatsAvailable"] if nodes else -1


async def _answers(port: int, requests: list[dict[str, object]]) -> list[object]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answers = [await client.post("/graphql", json=request) for request in requests]
    return [answer.json()["data"] for answer in answers]


async def _most_memory(dsn: str, search: str, command: list[str]) -> int:
    """Run `myevents` with that command; the most memory that it had, in MiB."""
    environment = {**os.environ, "MYEVENTS_DATABASE_URL": dsn, "MYEVENTS_SEARCH_URL": search}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "myevents", *command, env=environment, stdout=subprocess.DEVNULL
    )
    most, waiting = 0, asyncio.create_task(process.wait())
    while not waiting.done():
        told = Path(f"/proc/{process.pid}/status").read_text()  # noqa: ASYNC240 - it is no disk's
        most = max([most, *(int(line.split()[1]) for line in told.splitlines() if line.startswith("VmHWM"))])
        await asyncio.wait({waiting}, timeout=0.1)
    if await waiting:
        raise SystemExit("the rebuild failed")
    return most // 1024


async def main(given: argparse.Namespace, made: Path) -> None:
    """Measure, print, and delete what was made."""
    server, prefix = EmbeddedPostgres(made / "postgres"), f"benchmark-{uuid4().hex}"
    await server.start()
    try:
        async with fresh_database(server.dsn) as dsn:
            await rebuilding(dsn, f"{given.url}/{prefix}-a", given.facts)
        async with fresh_database(server.dsn) as dsn:
            await searching(dsn, f"{given.url}/{prefix}-b", given.searches, made)
        async with fresh_database(server.dsn) as dsn:
            await appearing(dsn, f"{given.url}/{prefix}-c", given.bookings)
    finally:
        await server.stop()
        async with httpx.AsyncClient(base_url=given.url, timeout=30) as client:
            for name in (await client.get(f"/{prefix}-*/_settings", params={"filter_path": "*.settings"})).json():
                (await client.delete(f"/{name}")).raise_for_status()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="an Elasticsearch, as http://127.0.0.1:19200")
    parser.add_argument("--facts", type=int, default=200_000)
    parser.add_argument("--searches", type=int, default=4000)
    parser.add_argument("--bookings", type=int, default=300)
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        uvloop.run(main(parser.parse_args(), Path(directory)))
