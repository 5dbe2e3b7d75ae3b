"""Answers are written in pieces, to clients that read them: who does not is disconnected, and memory stays bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

WRITE_SECONDS: Final = 10.0
"""Seconds in which a client has to read a piece, or what is left of an answer when its connection is closed."""

PIECE_BYTES: Final = 64 * 1024
"""Bytes that are handed to a connection at once: it takes the next ones when most of these are read."""

UNREAD_BYTES: Final = 64 * 1024 * 1024
"""Bytes of large answers that a process keeps for clients still to read; beyond, the slowest client is cut off."""


class WriteDeadlineProtocol(AutoHTTPProtocol):  # type: ignore[valid-type, misc]
    """HTTP as uvicorn speaks it, but a connection ends whose client does not read for `WRITE_SECONDS`."""

    _deadline: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Give the client its time: more waits to be read than the connection takes."""
        super().pause_writing()
        self._set_deadline()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        self._clear_deadline()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._clear_deadline()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Go on to the next request; where the connection is closed, what is left has to be read in time."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._set_deadline()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; what is left on it has to be read in time."""
        super().timeout_keep_alive_handler()
        self._set_deadline()

    def _set_deadline(self) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class InPieces:
    """An application whose large answers are sent in pieces, each when the client has read most of those before."""

    def __init__(self, application: ASGIApp, unread_bytes: int = UNREAD_BYTES) -> None:
        self._application = application
        self._free = unread_bytes
        self._sending: dict[_Sending, None] = {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass everything on, large bodies in pieces."""

        def send_in_pieces(message: Message) -> Awaitable[None]:
            if len(message.get("body", b"")) <= PIECE_BYTES:
                return send(message)
            return self._send(message, send)

        return self._application(scope, receive, send_in_pieces if scope["type"] == "http" else send)

    async def _send(self, message: Message, send: Send) -> None:
        """Send a body piece by piece; one that is cut off meanwhile just ends, and its connection with it."""
        sending = _Sending(size=len(message["body"]))
        self._make_room(sending.size)
        self._free -= sending.size
        self._sending[sending] = None
        try:
            for piece in _pieces(message):
                await send(piece)
                # Who reads is behind those who do not.
                self._sending[sending] = self._sending.pop(sending)
        except asyncio.CancelledError:
            if not sending.cut_off or (sending.task is not None and sending.task.uncancel()):
                raise
        finally:
            self._sending.pop(sending, None)
            self._free += sending.size

    def _make_room(self, size: int) -> None:
        """Cut off those whose clients have not read for longest, until there is room for so many bytes."""
        free = self._free + sum(other.size for other in self._sending if other.cut_off)
        for other in self._sending:
            if free >= size:
                return
            if not other.cut_off:
                other.cut()
                free += other.size


class _Sending:
    """A large answer on its way."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.task = asyncio.current_task()
        self.cut_off = False

    def cut(self) -> None:
        """End it."""
        self.cut_off = True
        if self.task is not None:
            self.task.cancel()


def _pieces(message: Message) -> list[dict[str, Any]]:
    """Return the messages that together send the body of `message`."""
    body, more = memoryview(message["body"]), message.get("more_body", False)
    starts = range(0, len(body), PIECE_BYTES)
    return [
        {
            "type": message["type"],
            "body": body[start : start + PIECE_BYTES],
            "more_body": more or start + PIECE_BYTES < len(body),
        }
        for start in starts
    ]
