"""Only a known proxy says where its callers are and which trace they follow."""

from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from myevents.trusted_peers import TrustedPeers

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEADERS = [(b"traceparent", TRACE), (b"x-forwarded-for", b"198.51.100.7"), (b"tracestate", b"a=1"), (b"accept", b"*/*")]


async def seen(networks: list[str], client: tuple[str, int] | None) -> tuple[str | None, set[bytes]]:
    """The address and the names of headers that the application is told."""
    scopes: list[Scope] = []

    async def application(scope: Scope, _: Receive, __: Send) -> None:
        scopes.append(scope)

    async def nothing() -> Message:
        return {}

    async def nowhere(_: Message) -> None:
        pass

    scope = {"type": "http", "client": client, "headers": list(HEADERS), "scheme": "http"}
    await TrustedPeers(application, networks)(scope, nothing, nowhere)
    names = {name for name, _ in scopes[0]["headers"]}
    told = scopes[0]["client"]
    return (told[0] if told else None), names


@pytest.mark.parametrize(
    ("networks", "client", "address", "follows"),
    [
        ([], ("192.0.2.1", 1), "192.0.2.1", False),
        (["10.0.0.0/8"], ("192.0.2.1", 1), "192.0.2.1", False),
        (["10.0.0.0/8"], ("10.1.2.3", 1), "198.51.100.7", True),
        (["10.0.0.1/32", "2001:db8::/32"], ("2001:db8::5", 1), "198.51.100.7", True),
        (["10.0.0.0/8"], None, None, False),
        (["10.0.0.0/8"], ("unix", 1), "unix", False),
    ],
)
async def test_a_trace_is_followed_where_a_known_proxy_passes_it_on(
    networks: list[str], client: tuple[str, int] | None, address: str | None, follows: bool
) -> None:
    told, names = await seen(networks, client)
    assert told == address
    assert (b"traceparent" in names, b"tracestate" in names, b"accept" in names) == (follows, follows, True)
