"""After the store was restored, what was made of the lost facts is made anew: Kafka's copy, read models, index."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from myevents.embedded import EmbeddedPostgres
from tests.e2e.served import PROGRAM, Served, environment, served, until
from tests.e2e.test_restore import Site, booked
from tests.e2e.test_surviving import Buyers, bookings_in
from tests.kafka_topics import NEEDS_KAFKA, own_topic, url_of

SERVICES = ("relay", "projector", "query", "command")


async def said(store: str, directory: Path, settings: Mapping[str, str], *command: str, code: int = 0) -> str:
    """What `myevents` prints, which must end with that code."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *command,
        env=environment(store, directory) | dict(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == code, output
    return output


@asynccontextmanager
async def running(store: str, directory: Path, settings: Mapping[str, str]) -> AsyncIterator[dict[str, Served]]:
    """All services, started in this order."""
    with ExitStack() as exits:
        services = {name: exits.enter_context(served(store, directory, name, settings)) for name in SERVICES}
        for service in services.values():
            await service.start()
        yield services


async def shown(reads: str, event: str) -> set[str]:
    """The bookings of an event that the read models show."""
    connection = await asyncpg.connect(reads)
    try:
        return {row[0] for row in await connection.fetch("select id from read.bookings where event_id = $1", event)}
    except asyncpg.UndefinedTableError:
        return set()
    finally:
        await connection.close()


async def bought(service: Served, event: str, bookings: int) -> set[str]:
    """Book so many seats; the bookings' ids."""
    buyers = Buyers(service)
    buying = [asyncio.create_task(buyers.buy(f"c{number}", event)) for number in range(4)]
    await booked(buyers, bookings)
    buyers.stopping = True
    await asyncio.gather(*buying)
    return set(buyers.acknowledged.values())


@NEEDS_KAFKA
async def test_kafka_and_the_read_database_tell_what_the_restored_store_tells(
    directory: Path, stack: AsyncExitStack
) -> None:
    site = Site(directory)
    before, after = await stack.enter_async_context(own_topic()), await stack.enter_async_context(own_topic())
    reads, empty = EmbeddedPostgres(directory / "reads"), EmbeddedPostgres(directory / "empty")
    for server in (site.store, reads, empty):
        await server.start()
    stack.push_async_callback(reads.stop)
    stack.push_async_callback(empty.stop)
    settings = {"MYEVENTS_LOG_URL": url_of(before), "MYEVENTS_READ_DATABASE_URL": reads.dsn}
    await said(site.store.dsn, directory, settings, "migrate")
    with site.receiving():
        async with running(site.store.dsn, directory, settings) as services:
            event = await Buyers(services["command"]).event()
            await site.backup()
            kept = await bought(services["command"], event, 50)
            moment = datetime.now(UTC)
            lost = await bought(services["command"], event, 100)

            async def all_shown() -> bool:
                return await shown(reads.dsn, event) == kept | lost

            await until(all_shown)
        await site.received()
    site.lose()
    await site.store.stop()
    store = await site.restored(moment.isoformat())
    stack.push_async_callback(store.stop)
    assert set(await bookings_in(store.dsn, event)) == kept

    # What was made of the lost facts says so.
    told = await said(store.dsn, directory, settings, "verify", code=1)
    assert "the log ends at" in told
    told = await said(store.dsn, directory, settings, "verify", "--log", code=1)
    assert "though the log does not have them" in told.replace("\n", " ")

    # Another topic, an empty read database; the index sees for itself.
    settings = {"MYEVENTS_LOG_URL": url_of(after), "MYEVENTS_READ_DATABASE_URL": empty.dsn}
    await said(store.dsn, directory, settings, "migrate")
    async with running(store.dsn, directory, settings) as services:
        more = await bought(services["command"], event, 50)

        async def all_shown_anew() -> bool:
            return await shown(empty.dsn, event) == kept | more

        await until(all_shown_anew)
        await said(store.dsn, directory, settings, "verify", "--log")
    await said(store.dsn, directory, settings, "verify")
