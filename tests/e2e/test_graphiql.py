"""GraphiQL over HTTP: for browsers alone, and from files that ask nobody else."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import Request

from myevents import graphiql
from myevents.graphiql import FILES, POLICY, prefers_page
from tests.e2e.served import served
from tests.e2e.test_serving import ANN

VENDORED = Path(graphiql.__file__).parent / "files"
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def asked(accept: str | None, method: str = "GET") -> Request:
    """A request with that Accept."""
    headers = [] if accept is None else [(b"accept", accept.encode("latin-1"))]
    return Request({"type": "http", "method": method, "path": "/graphql", "headers": headers})


@pytest.mark.parametrize(
    "accept", [CHROME, "text/html", "text/*", "application/json;q=0.5, text/html;q=0.6", "TEXT/HTML ; charset=utf-8"]
)
def test_who_would_rather_have_html_gets_the_page(accept: str) -> None:
    assert prefers_page(asked(accept))
    assert not prefers_page(asked(accept, "POST"))


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "application/json",
        "application/graphql-response+json, application/json;q=0.9",
        "text/html, application/json",
        "text/html;q=0.5, application/graphql-response+json;q=0.6",
        "text/html;q=0, */*",
        "text/html;q=nonsense",
        "image/png",
        ";;,,;q=",
    ],
)
def test_programs_do_not_get_the_page(accept: str | None) -> None:
    assert not prefers_page(asked(accept))


async def test_a_browser_gets_the_page_and_a_program_its_answer(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
            for path, query in (("/graphql", "{ events { totalCount } }"), ("/command", "{ health }")):
                page = await client.get(path, headers={"Accept": CHROME})
                assert page.status_code == 200
                assert page.headers["content-type"] == "text/html; charset=utf-8"
                assert page.headers["content-security-policy"] == POLICY
                assert page.headers["vary"] == "Accept"
                assert f'data-endpoint="{path}"' in page.text
                for accept in ("application/json", "*/*"):
                    answer = await client.get(path, params={"query": query}, headers={"Accept": accept})
                    assert answer.status_code == 200, answer.text
                    assert answer.json()["data"]
                    nothing = await client.get(path, headers={"Accept": accept})
                    assert (nothing.status_code, list(nothing.json())) == (400, ["errors"])
                posted = await client.post(path, json={"query": query}, headers={"Accept": CHROME})
                assert posted.json()["data"]
            mutation = 'mutation { createLocation(input: {name: "x", country: "GB"}) { position } }'
            refused = await client.get("/command", params={"query": mutation})
            assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


async def test_all_that_the_page_names_is_there_and_may_be_kept(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url) as client:
            page = await client.get("/graphql", headers={"Accept": CHROME})
            named = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page.text)
            assert len(named) == 6
            for address in named:
                assert urlsplit(address).netloc == ""
                answer = await client.get(page.url.join(address))
                assert answer.status_code == 200
                assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
                assert answer.headers["x-content-type-options"] == "nosniff"
                kind = "text/css" if ".css" in address else "text/javascript"
                assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
                tag = answer.headers["etag"]
                again = await client.get(page.url.join(address), headers={"If-None-Match": f'"other", W/{tag}'})
                assert (again.status_code, again.content) == (304, b"")
                # Of whatever version the page was: only what is surely this version is kept for good.
                old = await client.get(page.url.join(address).copy_with(query=b"v=0"))
                assert (old.content, old.headers["cache-control"]) == (answer.content, "no-cache")


async def test_what_is_not_listed_is_not_there(database_url: str, tmp_path: Path) -> None:
    paths = ["x", "README.md", "__init__.py", "", "files", "files/graphiql.min.js", "a/b", "%00", "x" * 3000]
    paths += ["../x", "../__init__.py", "..%2f__init__.py", "%2e%2e/__init__.py", "%2e%2e%2f__init__.py", "/etc/passwd"]
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url) as client:
            for path in paths:
                # As it stands: a client may tidy up an address before it asks.
                url = httpx.URL(service.url).copy_with(raw_path=f"/graphiql/{path}".encode())
                answer = await client.send(httpx.Request("GET", url))
                assert answer.status_code == 404, path
                assert answer.headers["content-type"] == "application/problem+json", path
            assert (await client.post("/graphiql/page.js")).status_code == 405


def test_the_vendored_files_are_the_ones_that_are_written_down() -> None:
    told = dict(re.findall(r"^\| `(\S+)` \| `(\w{64})` \|$", (VENDORED / "README.md").read_text("utf-8"), re.M))
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDORED.glob("*.min.*")}
    assert there == told
    assert {path.name for path in FILES.values() if path.parent == VENDORED} == {*told, "LICENSES.txt"}


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host_to_load_from(name: str) -> None:
    text = FILES[name].read_text("utf-8")
    for word in ("sourceMappingURL", "@import", "importScripts"):
        assert word not in text
    assert all(inner.startswith("data:") for inner in re.findall(r"""url\(["']?([^)"']+)""", text) if ":" in inner)
