"""An import and a rebuild that are killed go on where they were, and what serves meanwhile goes on serving."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import msgspec
import pytest

from myevents.log.store import StoreLog
from myevents.store import open_pool
from projector.run import Projector
from projector.verify import examine
from schema.tables import PARTITIONS
from tests.e2e.served import PROGRAM, Served, served
from tests.integration.test_import import SAMPLE, imported

KILLS = 6
BOOKINGS_EACH = 8
"""Bookings of each conference."""

_BOOK_ALL = """
with events as (
  select stream_id, partition, max(version) as version,
    (array_agg(data) filter (where type = 'EventCreated'))[1] as made
  from facts where stream_id like 'evt_%' group by 1, 2
), wanted as (
  select *, row_number() over (partition by partition order by number, stream_id) as place
  from events cross join generate_series(1, $1::int) as number
), recorded as (
  insert into facts
  select partition, seq + place, stream_id, version + number, 'SeatsBooked', 1,
    jsonb_build_object('bookingId', format('bkg_%s_%s', stream_id, number), 'userId', 'usr_a', 'lines',
      jsonb_build_array(jsonb_build_object('ticketTypeId', made -> 'ticketTypes' -> 0 -> 'ticketTypeId', 'seats', 1))),
    '{"commandId": "cmd_test"}', now()
  from wanted join heads using (partition) returning partition, seq
)
update heads set seq = n.seq from (select partition, max(seq) as seq from recorded group by 1) n
where n.partition = heads.partition
"""


class Command:
    """A `myevents` command as a process of its own."""

    def __init__(self, database_url: str, directory: Path, *arguments: str) -> None:
        self._said = directory / "said.log"
        with self._said.open("wb") as out:
            self._process = subprocess.Popen(
                [PROGRAM, *arguments],
                env={**os.environ, "MYEVENTS_DATABASE_URL": database_url},
                cwd=directory,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def kill(self) -> None:
        """`kill -9`."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def done(self) -> str:
        """What it said, once it has ended well."""
        code = await asyncio.to_thread(self._process.wait, 60)
        assert code == 0, self._said.read_text()
        return self._said.read_text()

    async def killed_when(self, far_enough: Callable[[], Awaitable[bool]]) -> bool:
        """Kill it as soon as it is far enough; False where it had ended before."""
        while self.running and not await far_enough():  # noqa: ASYNC110 - another process goes on
            await asyncio.sleep(0.002)
        ended = not self.running
        self.kill()
        return not ended


@pytest.fixture
def begin(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts commands on the test's database; none outlives the test."""
    begun: list[Command] = []

    def one(*arguments: str) -> Command:
        begun.append(Command(database_url, tmp_path, *arguments))
        return begun[-1]

    yield one
    for command in begun:
        command.kill()


async def problems_of(database_url: str) -> list[str]:
    """What is wrong with the tables once they have caught up; the search index is brought up by the service alone."""
    pool = await open_pool(database_url)
    log = StoreLog(pool, PARTITIONS)
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    await projector.catch_up()
    found = await examine(log=log, pool=pool)
    await pool.close()
    return [*found.problems, *(lag for lag in found.behind if not lag.startswith("search "))]


def conferences() -> Counter[tuple[str, str]]:
    """How many different conferences of each name and first day the file has."""
    # What `command.conferences` makes an event's id from: the same line twice is one conference.
    lines = [msgspec.json.decode(line) for line in SAMPLE.read_bytes().splitlines()]
    known = ("name", "url", "country", "city", "startDate", "endDate")
    different = {tuple(line.get(field) for field in known) for line in lines}
    return Counter((line[0], line[4]) for line in different)


async def test_a_killed_import_goes_on_and_every_conference_is_there_once(
    database_url: str, tmp_path: Path, begin: Callable[..., Command], chance: random.Random
) -> None:
    connection = await asyncpg.connect(database_url)
    facts, kills = 0, 0
    for _ in range(KILLS):
        importing = begin("import", str(SAMPLE))
        target = facts + chance.randint(1, 2500)

        async def far_enough(target: int = target) -> bool:
            reached: int = await connection.fetchval("select sum(seq) from heads")
            return reached >= target

        kills += await importing.killed_when(far_enough)
        facts = await connection.fetchval("select sum(seq) from heads")
    assert kills >= 3
    said = await begin("import", str(SAMPLE)).done()
    assert " 0 rejected" in said
    assert not (tmp_path / "rejected.jsonl").exists()
    rows = await connection.fetch(
        """select data -> 'details' ->> 'name', left(data ->> 'startsAt', 10) from facts where type = 'EventCreated'"""
    )
    await connection.close()
    assert Counter((row[0], row[1]) for row in rows) == conferences()
    assert await problems_of(database_url) == []


@asynccontextmanager
async def looked_at(service: Served, event: str) -> AsyncIterator[list[int]]:
    """Somebody who books that event and looks at it again and again; the seats booked that each look showed."""
    seen: list[int] = []
    over = asyncio.Event()

    async def look() -> None:
        async with httpx.AsyncClient(base_url=service.url, timeout=15, headers={"MyEvents-User": "usr_ann"}) as client:
            while not over.is_set():
                if len(seen) % 9 == 0:
                    booked = await client.post(f"/api/events/{event}/bookings", json={"seats": 1})
                    assert booked.status_code == 201, booked.text
                shown = await client.get(f"/api/events/{event}")
                assert shown.status_code == 200, shown.text
                seen.append(shown.json()["seatsBooked"])
                await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        over.set()
        await looking


async def test_a_killed_rebuild_goes_on_while_the_live_model_serves(
    database_url: str, tmp_path: Path, begin: Callable[..., Command], chance: random.Random
) -> None:
    await imported(database_url, SAMPLE.read_bytes().splitlines())
    owner = await asyncpg.connect(database_url)
    await owner.execute(_BOOK_ALL, BOOKINGS_EACH)
    event = await owner.fetchval("select stream_id from facts where type = 'EventPublished' limit 1")
    assert await problems_of(database_url) == []
    facts = int(await owner.fetchval("select sum(seq) from heads"))

    async def built() -> int:
        done = await owner.fetchval(
            """select sum(seq) from read.checkpoints join read.builds using (model, build)
               where model = 'events' and state = 'building'"""
        )
        return -1 if done is None else int(done)

    with served(database_url, tmp_path) as service:
        await service.start()
        async with looked_at(service, event) as seen:
            before, kills = 0, 0
            for _ in range(KILLS):
                rebuilding = begin("rebuild", "events")
                target = min(before + chance.randint(0, facts // 4), facts)

                async def far_enough(target: int = target, before: int = before) -> bool:
                    done = await built()
                    assert done < 0 or done >= before
                    return done >= target

                kills += await rebuilding.killed_when(far_enough)
                before = max(await built(), 0)
            await begin("rebuild", "events").done()
            dropped = await begin("rebuild", "events", "--drop-old").done()
    assert kills >= 3
    assert len(seen) > 20
    assert seen == sorted(seen)
    live = await owner.fetchval("select build from read.builds where model = 'events' and state = 'live'")
    assert "Dropped: [1" in dropped
    tables = await owner.fetch("select tablename from pg_tables where schemaname = 'read' and tablename like 'event%'")
    assert {row[0] for row in tables} == {f"events_{live}", f"event_locations_{live}"}
    assert await owner.fetchval("select count(*) from read.builds where model = 'events'") == 1
    await owner.close()
    assert await problems_of(database_url) == []
