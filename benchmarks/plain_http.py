"""A caller that costs little: one kept-alive connection that posts and reads the status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Connection:
    """One HTTP/1.1 connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a port of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, body: bytes, *headers: str) -> int:
        """Post JSON; the answer's status, its body read and dropped."""
        return await self.send("POST", path, body, *headers)

    async def send(self, method: str, path: str, body: bytes, *headers: str) -> int:
        """Send a request; the answer's status, its body read and dropped."""
        return int((await self.head_of(method, path, body, *headers)).split(b" ", 2)[1])

    async def head_of(self, method: str, path: str, body: bytes, *headers: str) -> bytes:
        """Send a request; the answer's head in small letters, its body read and dropped."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers, "", ""]
        self._writer.write("\r\n".join(lines).encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        await self._reader.readexactly(int(header(head, b"content-length")))
        return head

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """So many connections, to be taken from the list and put back; hung up at the end."""
    opened = [await Connection.open(port) for _ in range(count)]
    try:
        yield list(opened)
    finally:
        for connection in opened:
            connection.close()


def header(head: bytes, name: bytes) -> bytes:
    """What a head says under a name in small letters; raises `StopIteration` where it does not."""
    line = next(line for line in head.split(b"\r\n") if line.startswith(name + b":"))
    return line.partition(b":")[2].strip()
