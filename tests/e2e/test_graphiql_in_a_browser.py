"""GraphiQL in a real browser, which must find all of it at our own address."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.served import served
from tests.e2e.test_serving import ANN, EVENT

HERE = Path(__file__).parent / "browser"
CHROMIUM = shutil.which("chromium")
NPM = shutil.which("npm")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(NPM is None or shutil.which("node") is None, reason="node and npm are not installed"),
]


def seen_by_a_browser(url: str, wanted: str, home: Path) -> dict[str, Any]:
    """What the browser saw that opened the page and ran its query, whose answer must hold `wanted`."""
    if not (HERE / "node_modules").exists():
        subprocess.run(
            [NPM or "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE, check=True, timeout=120
        )
    picture = os.environ.get("MYEVENTS_TEST_PICTURES")
    run = subprocess.run(
        ["node", "graphiql.mjs", CHROMIUM or "", url, wanted, *([f"{picture}/{wanted}.png"] if picture else [])],
        cwd=HERE,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    seen: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return seen


async def test_a_browser_sees_the_events_that_there_are_and_asks_nobody_but_us(
    database_url: str, tmp_path: Path
) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
            made = await client.post("/api/events", json=EVENT | {"name": "A talk that a browser shows"})
            position = {"MyEvents-Position": made.headers["MyEvents-Position"]}
            await client.post("/graphql", json={"query": "{ events { nodes { id } } }"}, headers=position)
        seen = await asyncio.to_thread(
            seen_by_a_browser, f"{service.url}/graphql", "A talk that a browser shows", tmp_path
        )
    assert (seen["complaints"], seen["foreign"]) == ([], [])
    assert made.json()["id"] in seen["result"]
    assert "Query" in seen["documentation"]


async def test_a_browser_makes_an_event_by_the_example_at_the_command_side(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        seen = await asyncio.to_thread(seen_by_a_browser, f"{service.url}/command", "evt_", tmp_path)
    assert (seen["complaints"], seen["foreign"]) == ([], [])
    assert '"errors": []' in seen["result"].replace("\xa0", " ")
    assert "Mutation" in seen["documentation"]


async def test_a_link_brings_its_query_along(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        url = f"{service.url}/graphql?query=%7B%20mine%3A%20events%20%7B%20totalCount%20%7D%20%7D"
        seen = await asyncio.to_thread(seen_by_a_browser, url, '"mine"', tmp_path)
    assert (seen["complaints"], seen["foreign"]) == ([], [])
    assert '"totalCount": 0' in seen["result"].replace("\xa0", " ")
