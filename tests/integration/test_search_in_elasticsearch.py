"""What is Elasticsearch's alone: several writers, items that are refused, an index that is deleted while it serves."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace as with_changes

from command.inputs import LocationPatchInput
from command.inputs import take as taken
from myevents.search.elastic.address import Address, address_of
from myevents.search.elastic.builds import ElasticBuilds
from myevents.search.elastic.bulk import Bulk, RowRefused
from myevents.search.elastic.cluster import Cluster
from myevents.search.elastic.documents import puts
from myevents.search.port import SearchIndex, SearchQuery, SearchUnavailable
from projector.search_folding import take
from schema.event_filter import EventFilter
from schema.read_models import LocationRow
from tests.command_side import ANN, a_location, an_event, command_side
from tests.e2e.served import until
from tests.elastic import search_url_of_its_own
from tests.integration.test_projector import a_busy_day
from tests.integration.test_search_projector import Side, search_side
from tests.random_cases import seeds
from tests.search_corpus import all_events, an_event_row, conferences


@pytest.fixture
async def address(stack: AsyncExitStack) -> Address:
    """Where this test may make indexes."""
    return address_of(await stack.enter_async_context(search_url_of_its_own()))


@pytest.fixture
async def side(database_url: str, address: Address, stack: AsyncExitStack) -> Side:
    """The search side of this test."""
    return await search_side(database_url, ElasticBuilds(address), stack)


@pytest.fixture
async def other(address: Address) -> AsyncIterator[SearchIndex]:
    """The same index, as another process has it."""
    builds = ElasticBuilds(address)
    yield await builds.live()
    await builds.close()


async def test_a_writer_that_wakes_up_late_changes_nothing(address: Address, other: SearchIndex) -> None:
    builds = ElasticBuilds(address)
    index = await builds.live()
    first = an_event_row("First")
    await index.write([first], [], {3: 1})
    seen = await other.checkpoints()
    newest = with_changes(first, name="Newest", version=3)
    await index.write([newest], [LocationRow(id="loc_a", name="House", country="NL", version=7)], {3: 3})
    late = with_changes(first, name="Late", version=2)
    with pytest.raises(SearchUnavailable, match="Another process"):
        await other.write([late], [], {3: 2}, since=seen)
    # Even where it does not say what it has seen, an older row is not put in.
    await other.write([late], [LocationRow(id="loc_a", name="Hut", country="NL", version=6)], {4: 1})
    assert await all_events(index) == {first.id: newest}
    assert (await index.locations(["loc_a"]))["loc_a"].name == "House"
    assert await index.checkpoints() == {3: 3, 4: 1}
    await builds.close()


async def test_of_two_that_write_at_once_one_is_told_so(other: SearchIndex, address: Address) -> None:
    builds = ElasticBuilds(address)
    index = await builds.live()
    rows = conferences()[:2000]
    writes = [one.write(rows, [], {0: seq}) for seq, one in enumerate((index, other), start=1)]
    told = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(one, SearchUnavailable) for one in told) == 1
    assert await index.checkpoints() == {0: 1 if told[0] is None else 2}
    await builds.close()


@pytest.mark.parametrize("seed", seeds(6))
async def test_what_several_write_without_a_lock_equals_a_fold_of_the_log(
    database_url: str, side: Side, address: Address, stack: AsyncExitStack, seed: int
) -> None:
    chance = random.Random(seed)
    await side.projector.prepare()
    sides = [await search_side(database_url, ElasticBuilds(address), stack) for _ in range(3)]

    async def follow(one: Side) -> None:
        index = await one.builds.live()
        while True:
            with suppress(SearchUnavailable):
                await take(index, one.log, await one.log.heads(), (), batch=chance.randint(1, 12))
            await asyncio.sleep(chance.uniform(0, 0.02))

    following = [asyncio.create_task(follow(one)) for one in sides]
    async with command_side(database_url) as service:
        await a_busy_day(service, chance)
        location, halls = await a_location(service, 100)
        await an_event(service, locationId=location, hallId=halls[0], online=False, capacity=60)
        for name in ("Konzerthaus", "Oper", "Theater"):
            await service.change_location(ANN, location, taken(LocationPatchInput, {"name": name}))
            # One of them stops wherever it is, and goes on later.
            following[chance.randrange(3)].cancel()
            await asyncio.sleep(0.05)
            following += [asyncio.create_task(follow(sides[chance.randrange(3)]))]
    for one in following:
        one.cancel()
    await asyncio.gather(*following, return_exceptions=True)

    async def caught_up() -> bool:
        with suppress(SearchUnavailable):  # Writes that were given up may still be under way.
            await side.projector.catch_up()
            return True
        return False

    await until(caught_up)
    assert await side.breaches() == []


async def test_a_row_that_is_refused_is_named_and_no_checkpoint_moves(address: Address) -> None:
    builds = ElasticBuilds(address)
    index = await builds.live()
    endless = an_event_row("x " * 20_000)
    with pytest.raises(RowRefused, match=endless.id):
        await index.write([*conferences()[:600], endless], [], {0: 1})
    assert await index.checkpoints() == {}
    await builds.close()


async def test_an_index_deleted_while_it_serves_is_filled_again_by_itself(
    database_url: str, side: Side, address: Address
) -> None:
    following = asyncio.create_task(side.projector.run())
    async with command_side(database_url) as service:
        before = [await an_event(service) for _ in range(20)]
        live = await side.builds.live()

        async def there() -> bool:
            with suppress(SearchUnavailable):
                return set(before) <= set(await all_events(live))
            return False

        await until(there)
        async with httpx.AsyncClient(base_url=f"http://{address.host}:{address.port}") as client:
            deleted = await client.delete(f"/{address.prefix}-events-1-1")
            deleted.raise_for_status()
        before.append(await an_event(service))
        await until(there)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert await side.breaches() == []


async def test_writing_to_an_index_that_is_gone_does_not_make_one(address: Address, other: SearchIndex) -> None:
    async with httpx.AsyncClient(base_url=f"http://{address.host}:{address.port}") as client:
        (await client.delete(f"/{address.prefix}-events-1-1")).raise_for_status()
        for write in (other.write([an_event_row("One")], [], {0: 1}), other.search(SearchQuery(text="one"))):
            with pytest.raises(SearchUnavailable, match="not there"):
                await write
        # Not even where it is deleted after the write has begun.
        cluster = Cluster(address)
        with pytest.raises(SearchUnavailable, match="not there"):
            await Bulk(cluster, f"{address.prefix}-events-1").put(puts(iter([an_event_row("One")]), iter([])))
        await cluster.close()
        assert (await client.get(f"/{address.prefix}-*/_mapping")).json() == {}


async def test_a_swap_is_seen_by_every_process_at_its_next_search(address: Address, other: SearchIndex) -> None:
    builds = ElasticBuilds(address)
    await (await builds.live()).write([an_event_row("Old")], [], {0: 1})
    assert (await other.search(SearchQuery(text="old"))).total == 1
    build = await builds.begin()
    await (await builds.open(build)).write([an_event_row("New")], [], {0: 1})
    await builds.serve(build)
    assert [(await other.search(SearchQuery(text=text))).total for text in ("old", "new")] == [0, 1]
    await builds.drop(1)
    await other.write([an_event_row("Newer", 1)], [], {0: 2}, since={0: 1})
    assert (await other.search(SearchQuery(text="newer"))).total == 1
    await builds.close()


async def test_nobody_there_is_said_at_once_and_by_what_can_be_done(address: Address) -> None:
    builds = ElasticBuilds(replace(address, port=9))
    with pytest.raises(SearchUnavailable, match=r"does not answer .*try again"):
        await builds.live()
    await builds.close()


async def test_a_piece_of_a_name_is_found_however_it_repeats_itself(other: SearchIndex) -> None:
    rows = [
        an_event_row(name, number) for number, name in enumerate(("ab" * 249 + "c", "a * ? \\ b", "ab ab", "東京 b"))
    ]
    await other.write(rows, [], {})
    for piece, found in (
        ("ab" * 249, 1),
        ("ab" * 250, 0),
        ("*", 1),
        ("? \\", 1),
        ("b a", 1),
        (" b", 2),
        ("京", 1),
        ("b", 4),
    ):
        where = EventFilter(name=piece)
        assert (await other.search(SearchQuery(text="", where=where))).total == found, piece


async def test_an_api_key_opens_the_door_over_tls(address: Address, tmp_path: Path, stack: AsyncExitStack) -> None:
    async with gate(address, tmp_path, "aWQ6a2V5") as port:
        secured = replace(address, port=port, tls=True, ca=str(tmp_path / "cert.pem"))
        for key in ("aWQ6a2V5", "d3Jvbmc6a2V5"):
            builds = ElasticBuilds(replace(secured, api_key=key))
            stack.push_async_callback(builds.close)
            if key == "aWQ6a2V5":
                index = await builds.live()
                await index.write([an_event_row("One")], [], {0: 1})
                assert (await index.search(SearchQuery(text="one"))).total == 1
            else:
                with pytest.raises(SearchUnavailable, match="credentials"):
                    await builds.live()


@asynccontextmanager
async def gate(address: Address, directory: Path, key: str) -> AsyncIterator[int]:
    """The port of a gate over TLS before Elasticsearch, at which each connection begins with the API key."""
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    process = await asyncio.create_subprocess_exec(
        "openssl", *made, *files, cwd=directory, stderr=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")

    async def let_by(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if f"authorization: apikey {key.lower()}\r\n" not in head.decode().lower():
                writer.write(
                    b"HTTP/1.1 401 Unauthorized\r\nX-Elastic-Product: Elasticsearch\r\nContent-Length: 0\r\n\r\n"
                )
                await writer.drain()
            else:
                inner, outer = await asyncio.open_connection(address.host, address.port)
                outer.write(head)
                await asyncio.gather(passed_on(reader, outer), passed_on(inner, writer))
        writer.close()

    server = await asyncio.start_server(let_by, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass everything on until there is no more."""
    while some := await reader.read(65536):
        writer.write(some)
        await writer.drain()
    writer.close()
