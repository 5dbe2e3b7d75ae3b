"""GraphQL over HTTP as its specification says, held against the audits of its reference implementation."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.e2e.served import served

AUDIT = Path(__file__).parent / "graphql_audit"
GRAPHQL = "application/graphql-response+json"


def audited(url: str) -> dict[str, object]:
    """What the audits find at `url`."""
    if not (AUDIT / "node_modules").is_dir():
        subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"], cwd=AUDIT, check=True, timeout=120, capture_output=True
        )
    done = subprocess.run(["node", "audit.mjs", url], cwd=AUDIT, check=True, timeout=60, capture_output=True, text=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not there")
async def test_every_audit_of_graphql_over_http_passes(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        found = await asyncio.to_thread(audited, f"{service.url}/graphql")
    assert found == {"passed": 61, "wrong": []}


async def test_what_asks_for_too_much_is_told_so_and_not_executed(database_url: str, tmp_path: Path) -> None:
    most = "events(first: 100) { nodes { location "
    query = f"{{ {most} {{ {most} {{ events(first: 100) {{ nodes {{ id }} }} }} }} }} }} }} }} }}"
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers={"Accept": GRAPHQL}) as client:
            answer = await client.post("/graphql", json={"query": query})
            assert (answer.status_code, "data" in answer.json()) == (400, False)
            assert "1,010,100 nodes; 10,000 are allowed" in answer.json()["errors"][0]["message"]
            assert answer.json()["extensions"]["cost"] == {"requested": 1_010_100, "limit": 10_000}
            allowed = await client.post(
                "/graphql", json={"query": "{ events { nodes { id } } }"}, headers={"MyEvents-User": "usr_ann"}
            )
            assert allowed.json()["extensions"]["cost"] == {"requested": 20, "limit": 50_000}


@pytest.mark.parametrize(
    "query",
    [
        "{ a" * 330 + "}" * 330,
        "{ " + "[" * 900,
        "query($a: " + "[" * 400 + "ID" + "]" * 400 + ") { __typename }",
        "".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }} " for n in range(80)) + "{ ...f0 }",
        "fragment f on Query { ...g } fragment g on Query { ...f } { ...f }",
        "{ " + " ".join("__typename @include(if: true)" for _ in range(120)) + " }",
        "{ event(id: " + "[" * 300 + "]" * 300 + ") { id } }",
    ],
)
async def test_a_hostile_document_is_refused_at_once(database_url: str, tmp_path: Path, query: str) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers={"Accept": GRAPHQL}, timeout=2) as client:
            for path in ("/graphql", "/command"):
                answer = await client.post(path, json={"query": query})
                assert answer.status_code == 400
                assert answer.json()["errors"][0]["message"] != "Something went wrong on our side."
