"""Requests of one caller that are meant to slow the others down: `python -m benchmarks.attacks NAME PORT EVENT...`.

The events are those that the others book. An attack prepares what it needs, says `ready`, sends without a pause until
SIGTERM, and then prints how often it got which HTTP status. Any answer will do, a rejection included: what counts is
what the others notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count, cycle
from typing import Any, Final

import httpx
from msgspec import Struct

from benchmarks.hot_event import EVENT

ATTACKER: Final = {"MyEvents-User": "usr_mallory"}
MANY_TYPES: Final = "a/b," * 14_000
TIMEOUT_SECONDS: Final = 30.0
Client = httpx.AsyncClient


class Target(Struct, frozen=True, kw_only=True):
    """The server at which an attack is aimed, and the events that the others book there."""

    client: Client
    port: int
    events: tuple[str, ...]


Attack = Callable[[Target], Awaitable[None]]


async def index_long_words(target: Target) -> None:
    """An event whose description unfolds sixfold, booked again and again so that it is indexed again."""
    event = await _create_event(target.client, description="\u3316" * 10_000)
    await _repeat(1, lambda: target.client.post(f"/api/events/{event}/bookings", json={"seats": 1}))


async def highlight_long_words(target: Target) -> None:
    """Searches, with 15 aliases each, for words that a description of one long run of letters has."""
    for _ in range(20):
        await _create_event(target.client, name="aaaa", description="a" * 10_000)
    fields = '(search: "aaaa", first: 20) { nodes { highlights } }'
    query = "{ " + " ".join(f"e{number}: searchEvents{fields}" for number in range(15)) + " }"
    await _repeat(2, lambda: _query(target.client, query))


async def send_long_aliases(target: Target) -> None:
    """Bookings under a key, with an alias of 8,000 characters that do not compress."""
    chance = random.Random(0)

    async def send() -> None:
        event = chance.choice(target.events)
        alias = "a" + "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=8_000))
        query = f'mutation {{ {alias}: bookSeats(input: {{eventId: "{event}", seats: 1}}) {{ position }} }}'
        await _command(target.client, query, {"Idempotency-Key": "k"})

    await _repeat(4, send)


async def count_in_lists(target: Target) -> None:
    """A list of 100 locations with 15 connections in each, which count what is near a point."""
    near = "{latitude: 51.5, longitude: 0, radiusKm: 20000}"
    fields = " ".join(f"e{number}: events(first: 1, where: {{near: {near}}}) {{ totalCount }}" for number in range(15))
    await _repeat(2, lambda: _query(target.client, f"{{ locations(first: 100) {{ nodes {{ {fields} }} }} }}"))


async def list_many_halls(target: Target) -> None:
    """15 lists of 100 events in a location of 200 halls with long names."""
    location = await _create_large_location(target.client)
    await _repeat(1, lambda: _query(target.client, _halls_query(location)))


async def leave_answers_unread(target: Target) -> None:
    """Six connections that ask for long lists and read nothing."""
    location = await _create_large_location(target.client)
    body = json.dumps({"query": _halls_query(location)}).encode()
    head = f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=1024)
        try:
            for _ in range(10):
                writer.write(f"{head}\r\n\r\n".encode() + body)
            await asyncio.sleep(10)
        finally:
            writer.close()
        del reader

    await _repeat(6, send)


async def reuse_keys(target: Target) -> None:
    """The same 12 keys for six events in six partitions, in other orders each time."""
    chance, rounds = random.Random(0), count()

    async def send_all(event: str, number: int) -> None:
        keys = [f"key-{number}-{key}" for key in range(12)]
        chance.shuffle(keys)
        posts = (
            target.client.post(f"/api/events/{event}/bookings", json={"seats": 1}, headers={"Idempotency-Key": key})
            for key in keys
        )
        await asyncio.gather(*posts)

    async def send() -> None:
        number = next(rounds)
        await asyncio.gather(*(send_all(event, number) for event in target.events[:6]))

    await _repeat(3, send)


async def ask_commands_by_get(target: Target) -> None:
    """GET and HEAD of /command, with documents that take long to validate."""
    query = "{" + " health" * 900 + " }"
    methods = cycle(("GET", "HEAD"))
    await _repeat(4, lambda: target.client.request(next(methods), "/command", params={"query": query}))


async def send_many_mutations(target: Target) -> None:
    """15 mutations in each request."""
    event = target.events[0]
    fields = " ".join(
        f'm{number}: bookSeats(input: {{eventId: "{event}", seats: 1}}) {{ position }}' for number in range(15)
    )
    await _repeat(4, lambda: _command(target.client, f"mutation {{ {fields} }}"))


async def send_what_is_long(target: Target) -> None:
    """Numbers, lists, headers and addresses that are far longer than anybody needs."""
    ids = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    kinds: Iterator[Callable[[], Awaitable[object]]] = cycle(
        (
            lambda: _query(target.client, f"{{ events(first: {'9' * 50_000}) {{ totalCount }} }}"),
            lambda: _query(target.client, ids, {"ids": [[]] * 20_000}),
            lambda: target.client.get(
                "/graphql", params={"query": "{__typename}"}, headers={"Accept": "a/b," * 14_000}
            ),
            lambda: target.client.get("/api/events?" + "&".join("a=" for _ in range(15_000))),
            lambda: _query(target.client, "{" + " __typename" * 900 + " }"),
        )
    )
    await _repeat(4, lambda: next(kinds)())


ATTACKS: Final[dict[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        index_long_words,
        highlight_long_words,
        send_long_aliases,
        count_in_lists,
        list_many_halls,
        leave_answers_unread,
        reuse_keys,
        ask_commands_by_get,
        send_many_mutations,
        send_what_is_long,
    )
}
"""Attacks by name."""


async def _repeat(callers: int, send: Callable[[], Awaitable[object]]) -> None:
    """Say that all is prepared, and send from so many callers until cancelled."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()

    async def caller() -> None:
        while True:
            try:
                await send()
            except (httpx.HTTPError, OSError):
                # The server hung up on the attacker, as it may.
                await asyncio.sleep(0.01)

    await asyncio.gather(*(caller() for _ in range(callers)))


async def _create_event(client: Client, **fields: str) -> str:
    response = await client.post("/api/events", json=EVENT | {"capacity": 1_000_000} | fields)
    created: dict[str, Any] = response.json()
    return str(created["id"])


async def _create_large_location(client: Client) -> str:
    """The id of a location with 200 halls of long names and 105 events."""
    halls = [{"name": f"{number:03d}".ljust(190, "h"), "capacity": 100} for number in range(200)]
    body = {"name": "Halls", "country": "Nowhere", "halls": halls}
    created = (await client.post("/api/locations", json=body)).json()
    for number in range(105):
        event = {name: value for name, value in EVENT.items() if name not in ("online", "capacity")}
        event |= {"locationId": created["id"], "hallId": created["hallIds"][number]}
        (await client.post("/api/events", json=event)).raise_for_status()
    return str(created["id"])


def _halls_query(location: str) -> str:
    where = f'{{locationId: "{location}"}}'
    fields = f"events(first: 100, where: {where}) {{ nodes {{ location {{ halls {{ name }} }} }} }}"
    return "{ " + " ".join(f"a{number}: {fields}" for number in range(15)) + " }"


async def _query(client: Client, query: str, variables: dict[str, object] | None = None) -> None:
    # A number of its own each time, so that no answer comes from a cache.
    body = {"query": query, "variables": variables, "extensions": {"n": random.random()}}
    await client.post("/graphql", json=body)


async def _command(client: Client, query: str, headers: dict[str, str] | None = None) -> None:
    await client.post("/command", json={"query": query}, headers=headers)


async def main(name: str, port: int, events: Sequence[str]) -> None:
    """Run one attack until SIGTERM, and print the statuses of its answers."""
    statuses: Counter[int] = Counter()

    async def count_status(response: httpx.Response) -> None:
        statuses[response.status_code] += 1

    url, hooks = f"http://127.0.0.1:{port}", {"response": [count_status]}
    async with httpx.AsyncClient(base_url=url, headers=ATTACKER, timeout=TIMEOUT_SECONDS, event_hooks=hooks) as client:
        attack = asyncio.ensure_future(ATTACKS[name](Target(client=client, port=port, events=tuple(events))))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, attack.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await attack
    sys.stdout.write(", ".join(f"{status} x {times}" for status, times in sorted(statuses.items())))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
