"""GraphiQL for people with a browser, at the address of the API itself and from our own files alone."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from myevents.negotiation import best

_HERE: Final = Path(__file__).parent

FILES: Final = {
    "react.js": _HERE / "files" / "react.production.min.js",
    "react-dom.js": _HERE / "files" / "react-dom.production.min.js",
    "graphiql.js": _HERE / "files" / "graphiql.min.js",
    "graphiql.css": _HERE / "files" / "graphiql.min.css",
    "page.js": _HERE / "page.js",
    "page.css": _HERE / "page.css",
    "LICENSES.txt": _HERE / "files" / "LICENSES.txt",
}
"""What is served under /graphiql/, and nothing else."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: it asks nobody but us. The editor writes styles into its elements."""

_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_DATA: Final = ("application/json", "application/graphql-response+json")
_PAGE: Final = "text/html"


def prefers_page(request: Request) -> bool:
    """Whether who asks would rather have HTML than JSON, as browsers do and programs do not."""
    if request.method not in ("GET", "HEAD"):
        return False
    return best(request.headers.get("accept"), (*_DATA, _PAGE), usual=_DATA[0]) == _PAGE


def graphiql_page(endpoint: str) -> Response:
    """GraphiQL that asks `endpoint`, a path of one segment."""
    styles = "".join(f'<link rel="stylesheet" href="{_address(name)}">' for name in ("graphiql.css", "page.css"))
    scripts = "".join(
        f'<script defer src="{_address(name)}"></script>'
        for name in ("react.js", "react-dom.js", "graphiql.js", "page.js")
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>MyEvents: GraphiQL</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f'{styles}{scripts}</head><body><main id="graphiql" data-endpoint="{escape(endpoint)}">'
        "<noscript>GraphiQL needs JavaScript. Programs POST JSON to this address.</noscript></main></body></html>"
    )
    return HTMLResponse(
        page,
        headers={
            "Cache-Control": "no-cache",
            "Content-Security-Policy": POLICY,
            "Referrer-Policy": "no-referrer",
            "Vary": "Accept",
            "X-Content-Type-Options": "nosniff",
        },
    )


def graphiql_routes() -> list[Route]:
    """The route of the page's files."""
    return [Route("/graphiql/{file}", _file)]


async def _file(request: Request) -> Response:
    name = request.path_params["file"]
    if name not in FILES:
        raise HTTPException(404)
    body, digest = _content(name)
    headers = {
        "Cache-Control": "no-cache",
        "ETag": f'"{digest}"',
        "X-Content-Type-Options": "nosniff",
    }
    if request.query_params.get("v") == digest:
        headers["Cache-Control"] = "public, max-age=31536000, immutable"
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
    if headers["ETag"] in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=_TYPES[FILES[name].suffix])


def _address(name: str) -> str:
    """Where the page finds the file; relative, so that a proxy may put us under a path of its own."""
    return f"graphiql/{name}?v={_content(name)[1]}"


@cache
def _content(name: str) -> tuple[bytes, str]:
    """The file, and what tells this version of it from others."""
    body = FILES[name].read_bytes()
    return body, sha256(body).hexdigest()[:16]
