"""A client that does not read its answer is disconnected in time, and takes little memory until then."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from myevents.cli import listening, writing
from myevents.cli.writing import InPieces, WriteDeadlineProtocol

LARGE = 16 * 1024 * 1024
ASK = b"GET /%d HTTP/1.1\r\nHost: x\r\n%s\r\n"


class H11WithDeadline(WriteDeadlineProtocol, H11Protocol):
    """The other implementation of HTTP, for where the quick one is not to be had."""


def application() -> ASGIApp:
    """An application that answers with so many bytes."""

    async def answer(request: Request) -> Response:
        return Response(b"x" * int(request.path_params["size"]))

    return Starlette(routes=[Route("/{size}", answer)])


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve as the services do; the port."""
    at = socket.create_server(("127.0.0.1", 0))
    server = listening._server(app, tls)
    running = asyncio.create_task(server.serve(sockets=[at]))
    while not server.started:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.01)
    try:
        yield at.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        await running


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """The context of a server with a certificate of its own."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(["openssl", *made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def client_context() -> ssl.SSLContext:
    """The context of a client that trusts anybody."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def connected(port: int, *, safe: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose client keeps little of what it has not read."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    context = client_context() if safe else None
    return await asyncio.open_connection(
        sock=plain, ssl=context, server_hostname="localhost" if safe else None, limit=8192
    )


async def closed(*writers: asyncio.StreamWriter) -> None:
    """Close connections, whatever befell them."""
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def received(reader: asyncio.StreamReader) -> int:
    """How many bytes come until the connection ends, in order or not."""
    count = 0
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := await reader.read(1 << 20):
            count += len(piece)
    return count


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("quick", [True, False])
async def test_who_does_not_read_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, safe: bool, quick: bool
) -> None:
    monkeypatch.setattr(writing, "WRITE_SECONDS", 0.5)
    if not quick:
        monkeypatch.setattr(listening, "WriteDeadlineProtocol", H11WithDeadline)
    async with serving(InPieces(application()), tls if safe else None) as port:
        reader, writer = await connected(port, safe=safe)
        writer.write(ASK % (LARGE, b""))
        await asyncio.sleep(2)
        assert await received(reader) < LARGE
        await closed(writer)


async def test_who_reads_slowly_gets_the_whole_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_SECONDS", 3.0)
    size, piece = 1024 * 1024, 64 * 1024
    async with serving(InPieces(application())) as port:
        reader, writer = await connected(port, safe=False)
        writer.write(ASK % (size, b"Connection: close\r\n"))
        assert b"content-length: 1048576" in await reader.readuntil(b"\r\n\r\n")
        for _ in range(size // piece):
            await reader.readexactly(piece)
            await asyncio.sleep(0.3)
        assert await received(reader) == 0
        await closed(writer)


async def test_what_is_left_when_a_connection_is_closed_has_to_be_read_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_SECONDS", 0.5)
    gone = asyncio.Event()

    class Watched(WriteDeadlineProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:
            # So that a small answer stays in the process, not in the system's buffers.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            gone.set()
            super().connection_lost(exc)

    monkeypatch.setattr(listening, "WriteDeadlineProtocol", Watched)
    async with serving(InPieces(application())) as port:
        reader, writer = await connected(port, safe=False)
        writer.write(ASK % (60_000, b"Connection: close\r\n"))
        async with asyncio.timeout(5):
            await gone.wait()
        assert await received(reader) < 60_000
        await closed(writer)


async def test_the_one_who_has_not_read_for_longest_makes_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_SECONDS", 60.0)
    pieces = InPieces(application(), unread_bytes=2 * LARGE)
    async with serving(pieces) as port:
        idle = [await connected(port, safe=False) for _ in range(5)]
        for _, writer in idle:
            writer.write(ASK % (LARGE, b""))
            await asyncio.sleep(0.1)
        assert len(pieces._sending) == 2, "the last two"
        assert pieces._free == 0
        reader, writer = await connected(port, safe=False)
        writer.write(ASK % (LARGE, b"Connection: close\r\n"))
        assert await received(reader) > LARGE
        await closed(writer, *(idle_writer for _, idle_writer in idle))
