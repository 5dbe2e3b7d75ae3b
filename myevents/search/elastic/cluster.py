"""One Elasticsearch: how it is reached, how it is asked within a deadline, and what its refusals mean."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from elastic_transport import ApiResponse, SerializationError, Serializer, TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from msgspec import Struct

from myevents.search.elastic.address import Address
from myevents.search.port import SearchUnavailable

DEADLINE: Final = 2.0
"""Seconds a read may take."""

PATIENT: Final = 10.0
"""Seconds a call may take that nobody waits for who searches."""

_CONNECTIONS: Final = 32
_PASSING: Final = frozenset({404, 408, 429, 500, 502, 503, 504})
_NOT_ALLOWED: Final = frozenset({401, 403})
_Answer = TypeVar("_Answer")

Ask = Callable[[AsyncElasticsearch], Awaitable[ApiResponse[Any]]]
"""A call of the client."""


class SearchMissing(SearchUnavailable):
    """There is no such index."""

    def __init__(self) -> None:
        super().__init__("The search index is not there: it is filled again from the log.")


class Overtaken(SearchUnavailable):
    """Another process has moved what was to be moved."""


class Cluster:
    """The connections of one process to an Elasticsearch. Nothing is sent before the first question."""

    def __init__(self, address: Address) -> None:
        self._at = f"{address.host}:{address.port}"
        self._client = AsyncElasticsearch(
            f"{'https' if address.tls else 'http'}://{self._at}",
            basic_auth=None if address.user is None else (address.user, address.password or ""),
            api_key=address.api_key,
            ssl_context=ssl.create_default_context(cafile=address.ca) if address.tls else None,
            serializers={_Bytes.mimetype: _Bytes()},
            connections_per_node=_CONNECTIONS,
            max_retries=0,
            retry_on_timeout=False,
            retry_on_status=(),
        )
        self._read = self._client.options(request_timeout=DEADLINE)
        self._patient = self._client.options(request_timeout=PATIENT)

    async def ask(
        self,
        what: Ask,
        kind: type[_Answer],
        *,
        patient: bool = False,
    ) -> _Answer:
        """The answer; raises `SearchUnavailable` where there is none in time, or it is one to try again after."""
        client, deadline = (self._patient, PATIENT) if patient else (self._read, DEADLINE)
        try:
            async with asyncio.timeout(deadline):
                answer = await what(client)
        except TimeoutError as error:
            raise SearchUnavailable("The search took too long: ask for less, or try again.") from error
        except TransportError as error:
            if isinstance(error, SerializationError):
                raise
            raise SearchUnavailable(
                f"Elasticsearch at {self._at} does not answer ({type(error).__name__}): try again."
            ) from error
        except ApiError as error:
            raise self._meaning(error) from error
        return msgspec.json.decode(answer.body or b"{}", type=kind)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _meaning(self, error: ApiError) -> Exception:
        told = refusal(error.body)
        if error.status_code == 404 and told in ("", "index_not_found_exception"):
            return SearchMissing()
        if error.status_code == 409:
            return Overtaken("Another process writes the search index.")
        if error.status_code in _NOT_ALLOWED:
            return SearchUnavailable(
                f"Elasticsearch at {self._at} lets nobody in with these credentials, or does not let them do this."
            )
        if error.status_code in _PASSING:
            return SearchUnavailable(f"Elasticsearch at {self._at} cannot do this now ({told}): try again.")
        return error


class Nothing(Struct):
    """An answer of which nothing is read."""


def refusal(body: object) -> str:
    """The type of the error that a body tells of, or nothing."""
    try:
        return msgspec.json.decode(body, type=_Failed).error.type if isinstance(body, bytes) else ""
    except msgspec.MsgspecError:
        return ""


class _Error(Struct):
    type: str = ""


class _Failed(Struct):
    error: _Error


class _Bytes(Serializer):
    """Sends JSON, and leaves answers as they are: each is read once, straight into what it has to be."""

    mimetype: ClassVar[str] = "application/json"

    def loads(self, data: bytes) -> bytes:
        return data

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else msgspec.json.encode(data)
