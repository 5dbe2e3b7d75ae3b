"""What each service answers over HTTP: the same paths, whether in one process or in services of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from command.app import command_routes
from command.openapi import openapi as command_openapi
from command.service import CommandService
from myevents.edge import Edge
from myevents.graphiql import graphiql_routes
from myevents.search.port import SearchBuilds
from myevents.telemetry.graphql import GraphqlMetrics
from myevents.telemetry.http import HttpMetrics, Observed
from myevents.telemetry.process import Telemetry
from myevents.web import as_problem, as_server_error
from query.answers import Answers
from query.app import query_routes
from query.reads import Reads
from query.rest import openapi as query_openapi

_PAGE = """<!doctype html><meta charset="utf-8"><title>MyEvents</title>
<style>body{font:16px/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem}</style>
<h1>MyEvents</h1><p>The service runs. It answers at:</p><ul>
<li><a href="/api/events">/api/events</a> and <a href="/api/locations">/api/locations</a>: REST</li>
<li><a href="/graphql">/graphql</a>: queries; <a href="/command">/command</a>: mutations; GraphiQL in a browser</li>
<li><a href="/api/openapi.json">/api/openapi.json</a>: what REST takes and gives</li></ul>"""


Wrap = Callable[[ASGIApp], ASGIApp]
"""What is put around an application: within what is measured of it."""


def _bare(application: ASGIApp) -> ASGIApp:
    return application


def everything(
    telemetry: Telemetry,
    service: CommandService,
    reads: Reads,
    search: SearchBuilds,
    answers: Answers,
    wrap: Wrap = _bare,
) -> ASGIApp:
    """Commands, queries and the page."""

    async def page(_: Request) -> Response:
        return HTMLResponse(_PAGE, headers={"Cache-Control": "no-cache"})

    graphql = GraphqlMetrics(telemetry.registry)
    routes = [Route("/", page), *command_routes(service, graphql), *query_routes(reads, search, answers, graphql)]
    return _application(telemetry, routes, openapi(query_openapi(), command_openapi()), wrap)


def commands(telemetry: Telemetry, service: CommandService, wrap: Wrap = _bare) -> ASGIApp:
    """Commands alone."""
    routes = command_routes(service, GraphqlMetrics(telemetry.registry))
    return _application(telemetry, routes, openapi(command_openapi()), wrap)


def queries(telemetry: Telemetry, reads: Reads, search: SearchBuilds, answers: Answers, wrap: Wrap = _bare) -> ASGIApp:
    """Queries alone."""
    routes = query_routes(reads, search, answers, GraphqlMetrics(telemetry.registry))
    return _application(telemetry, routes, openapi(query_openapi()), wrap)


def openapi(*parts: Mapping[str, Any]) -> dict[str, object]:
    """OpenAPI 3.1 of those parts of REST."""
    paths: dict[str, dict[str, object]] = {}
    components: dict[str, object] = {}
    for part in parts:
        for path, operations in part["paths"].items():
            paths.setdefault(path, {}).update(operations)
        components |= part.get("components", {})
    return {
        "openapi": "3.1.0",
        "info": {"title": "MyEvents", "version": "0.1.0"},
        "paths": paths,
        "components": components,
    }


def _application(
    telemetry: Telemetry, routes: Iterable[Route], description: Mapping[str, object], wrap: Wrap
) -> ASGIApp:
    """Those routes, beside what every service tells of itself."""

    async def described(_: Request) -> Response:
        headers = {"Cache-Control": "no-cache"}
        return Response(msgspec.json.encode(description), headers=headers, media_type="application/json")

    own = [*telemetry.health.routes(), Route("/api/openapi.json", described)]
    handlers = {HTTPException: as_problem, Exception: as_server_error}
    application = Starlette(routes=[*own, *graphiql_routes(), *routes], exception_handlers=handlers)
    metrics = HttpMetrics(telemetry.registry, telemetry.service)
    return Observed(Edge(wrap(application)), metrics, telemetry.tracing, logged=telemetry.access_log)
