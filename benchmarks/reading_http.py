"""Lists and searches over HTTP, on the sample's 5,146 conferences: `python -m benchmarks.reading_http [CALLS]`.

Each is asked as a request that was never asked before, whose answer has to be made, and as one that is asked again and
again. Beside the list stands the same list as plain JSON from REST; beside the search PostgreSQL's full-text search,
asked without HTTP. Server and callers share the machine's cores; MYEVENTS_CACHE_URL is passed on.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from itertools import count, cycle
from pathlib import Path

import asyncpg
import httpx
import orjson
import uvloop

from benchmarks.latency import measure, show
from benchmarks.plain_http import Connection
from benchmarks.service import service
from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from schema.sessions import SESSION_SETTINGS

SAMPLE = "data/conferences.jsonl"
LIST = "{ events(first: 50) { nodes { id name startsAt seatsAvailable location { name city country } } } }"
REST = "/api/events?first=50"
SEARCH = """query($q: String!) { searchEvents(search: $q, first: 20) { totalCount nodes {
  highlights event { id name startsAt seatsAvailable location { name city country } } } } }"""
WORDS = ("javascript", "react", "devops", "security", "data", "ruby", "conf", "days", "summit", "angular")
PLACES = ("london", "berlin", "new york", "amsterdam", "")
QUERIES = [f"{word} {place}".strip() for word in WORDS for place in PLACES] + ["kubernets", "javscript", "amsterdm"]
NUMBERS = count()
Call = Callable[[int], Awaitable[object]]
TYPE = "Content-Type: application/json"


async def main(calls: int, directory: Path) -> None:
    """Measure, check what was answered, print the tables."""
    server = EmbeddedPostgres(directory / "postgres")
    await server.start()
    try:
        await migrate(server.dsn)
        async with service(["-m", "myevents", "serve", "--sample", SAMPLE], server.dsn) as port:
            await settled(port)
            for callers in (1, 8):
                rows = [
                    ("GraphQL, again", *await asked(port, again([{"query": LIST}]), calls, callers)),
                    ("GraphQL, new", *await asked(port, new([{"query": LIST}]), calls, callers)),
                    ("REST, again", *await _got(port, cycle([REST]), calls, callers)),
                    ("REST, new", *await _got(port, (f"{REST}&n={n}" for n in NUMBERS), calls, callers)),
                ]
                show(f"List of 50 events with location over HTTP, {callers} at once", rows)
            searches: list[dict[str, object]] = [{"query": SEARCH, "variables": {"q": text}} for text in QUERIES]
            for callers in (1, 8):
                rows = [
                    ("search over HTTP, again", *await asked(port, again(searches), calls, callers)),
                    ("search over HTTP, new", *await asked(port, new(searches), calls, callers)),
                    ("full-text search of PostgreSQL", *await _full_text(server.dsn, calls // 4, callers)),
                ]
                show(f"Search, 20 hits with highlights and location, {callers} at once", rows)
    finally:
        await server.stop()


async def settled(port: int) -> None:
    """Wait until the index has everything, and check that lists and searches answer as they should."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(600):
            models = await client.post("/graphql", json={"query": "{ readModels { name applied head } }"})
            told = models.json()["data"]["readModels"]
            everything = await client.post("/graphql", json={"query": SEARCH, "variables": {"q": ""}})
            # An index that was just made says so only once its writer is there.
            total = (everything.json()["data"] or {}).get("searchEvents", {}).get("totalCount")
            if all(0 < model["applied"] == model["head"] for model in told) and len(told) == 4 and total == 5146:
                break
            await asyncio.sleep(0.1)
        listed = await client.post("/graphql", json={"query": LIST})
        assert len(listed.json()["data"]["events"]["nodes"]) == 50, listed.text
        for text in QUERIES:
            found = await client.post("/graphql", json={"query": SEARCH, "variables": {"q": text}})
            assert "errors" not in found.json(), found.text
        everything = await client.post("/graphql", json={"query": SEARCH, "variables": {"q": ""}})
        assert everything.json()["data"]["searchEvents"]["totalCount"] == 5146, everything.text


def again(requests: list[dict[str, object]]) -> Iterator[bytes]:
    """Bodies that come back."""
    return cycle([orjson.dumps(request) for request in requests])


def new(requests: list[dict[str, object]]) -> Iterator[bytes]:
    """Bodies that ask the same, none of which was there before."""
    return (orjson.dumps(request | {"extensions": {"n": next(NUMBERS)}}) for request in cycle(requests))


async def asked(port: int, bodies: Iterator[bytes], calls: int, callers: int) -> tuple[float, list[float]]:
    free = [await Connection.open(port) for _ in range(callers)]

    async def ask(_: int) -> None:
        connection = free.pop()
        assert await connection.send("POST", "/graphql", next(bodies), TYPE) == 200
        free.append(connection)

    return await _measured(free, calls, callers, ask)


async def _got(port: int, paths: Iterator[str], calls: int, callers: int) -> tuple[float, list[float]]:
    free = [await Connection.open(port) for _ in range(callers)]

    async def get(_: int) -> None:
        connection = free.pop()
        assert await connection.send("GET", next(paths), b"") == 200
        free.append(connection)

    return await _measured(free, calls, callers, get)


async def _measured(free: list[Connection], calls: int, callers: int, call: Call) -> tuple[float, list[float]]:
    await measure(calls // 10, call, callers)
    result = await measure(calls, call, callers)
    for connection in free:
        connection.close()
    return result


async def _full_text(dsn: str, calls: int, callers: int) -> tuple[float, list[float]]:
    statement = """
      select id, name, starts_at, seats_available, location, ts_headline('simple', name, q), ts_rank(t, q)
      from bench_texts, websearch_to_tsquery('simple', $1) q where t @@ q order by 7 desc, starts_at, id limit 20"""
    async with asyncpg.create_pool(
        dsn, min_size=callers, max_size=callers, server_settings=dict(SESSION_SETTINGS)
    ) as pool:
        await pool.execute(
            """create table if not exists bench_texts as select id, name, starts_at, seats_available, location,
                 to_tsvector('simple', concat_ws(' ', name, array_to_string(topics, ' '), city, country)) as t
               from read.events"""
        )
        await pool.execute("create index if not exists bench_texts_t on bench_texts using gin (t)")
        await pool.execute("analyze bench_texts")
        return await measure(calls, lambda number: pool.fetch(statement, QUERIES[number % len(QUERIES)]), callers)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000, Path(made)))
