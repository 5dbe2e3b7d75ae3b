"""A location's halls, of which there may be 200, are read and shown only where they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from command.inputs import EventInput, LocationInput, take
from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from projector.run import Projector
from query.paging import Halls, row_json
from schema.tables import PARTITIONS
from tests.command_side import ANN, command_side, online_event
from tests.query_side import query_side

HALLS = 200
NAME = "x" * 200


async def test_lists_show_halls_where_they_are_asked_for_alone(database_url: str, tmp_path: Path) -> None:
    pool, search = await open_pool(database_url), EmbeddedBuilds(tmp_path / "search")
    halls = [{"name": f"{number} {NAME}"[:200], "capacity": 10, "location": NAME} for number in range(HALLS)]
    async with command_side(database_url) as service, query_side(pool, search) as queries:
        projector = Projector(log=StoreLog(pool, PARTITIONS), pool=pool)
        await projector.prepare()
        given = {"name": "House", "country": "NL", "halls": halls}
        place: Any = (await service.create_location(ANN, take(LocationInput, given))).answer
        here = [
            take(
                EventInput,
                {
                    "name": "T",
                    "startsAt": f"2027-05-0{day}T10:00:00Z",
                    "endsAt": f"2027-05-0{day}T12:00:00Z",
                    "locationId": place.id,
                    "hallId": place.hall_ids[7],
                },
            )
            for day in range(1, 4)
        ]
        events = [(await service.create_event(ANN, event)).answer.id for event in here]
        await service.create_event(ANN, online_event(startsAt="2027-06-01T10:00:00Z", endsAt="2027-06-01T12:00:00Z"))
        await projector.catch_up()

        rest = await queries.client.get("/api/events")
        shown = rest.json()["nodes"]
        assert [node["location"] and node["location"]["name"] for node in shown] == ["House", "House", "House", None]
        assert all("halls" not in (node["location"] or {}) for node in shown)
        assert len(rest.content) < 10_000
        places = await queries.client.get("/api/locations")
        assert [(node["name"], "halls" in node) for node in places.json()["nodes"]] == [("House", False)]
        for path in (f"/api/events/{events[0]}", "/api/events/name/T"):
            assert len((await queries.client.get(path)).json()["location"]["halls"]) == HALLS
        assert len((await queries.client.get(f"/api/locations/{place.id}")).json()["halls"]) == HALLS

        async def ask(query: str) -> Any:
            answer = (await queries.ask(query)).json()
            assert "errors" not in answer
            return answer["data"]

        own = {"id": place.hall_ids[7], "name": halls[7]["name"]}
        for query in (
            "{ events { nodes { location { name } hall { id name } } } }",
            "{ events { edges { node { ...f } } nodes { ...f } } } fragment f on Event { name hall { id name } }",
        ):
            nodes = (await ask(query))["events"]["nodes"]
            assert [node["hall"] for node in nodes] == [own, own, own, None]
        for fields in ("location { halls { id } }", "... on Event { location { ...f } }"):
            more = "fragment f on Location { halls { id } }" if "...f" in fields else ""
            nodes = (await ask(f"{{ events {{ nodes {{ {fields} }} }} }} {more}"))["events"]["nodes"]
            assert [len(node["location"]["halls"]) if node["location"] else 0 for node in nodes] == [HALLS] * 3 + [0]
        assert len((await ask("{ locations { nodes { halls { id } } } }"))["locations"]["nodes"][0]["halls"]) == HALLS
    await search.close()
    await pool.close()


@pytest.mark.parametrize(("halls", "bytes_at_most"), [("none", 2_000), ("own", 3_000)])
async def test_no_more_halls_are_read_than_are_shown(database_url: str, halls: Halls, bytes_at_most: int) -> None:
    connection = await asyncpg.connect(database_url)
    found = await connection.fetchrow(
        f"""with all_halls as (
              select jsonb_agg(jsonb_build_object('hallId', 'hal_' || n, 'name', repeat('x', 200))) as halls
              from generate_series(1, 200) n),
            events as (select 'hal_7' as hall_id, jsonb_build_object('id', 'loc_x', 'halls', halls) as location
              from all_halls)
            select length(({row_json("events", halls)})::text), length(to_jsonb(events)::text) from events"""
    )
    assert found is not None
    assert found[0] < bytes_at_most < found[1]
    await connection.close()
