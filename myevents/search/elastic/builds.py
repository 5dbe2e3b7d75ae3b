"""The builds of the index, an index each; an alias says which one serves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from elasticsearch import ApiError
from msgspec import Struct, field

from myevents.search.elastic.address import Address
from myevents.search.elastic.cluster import Ask, Cluster, Nothing, SearchMissing, refusal
from myevents.search.elastic.documents import FILLING, MAPPING, SERVING, VERSION
from myevents.search.elastic.index import ElasticIndex
from myevents.search.port import SearchUnavailable

_FINISHED: Final = "finished"
_BUILDING: Final = "building"


class ElasticBuilds:
    """`<prefix>-events-1-1`, `-1-2`...: the version of the documents, and the number of the build.

    Each is read and written by an alias of its own, for writing to an alias never makes an index where one is gone.
    """

    rest = 0.5
    """Most of the work is another machine's."""

    def __init__(self, address: Address) -> None:
        self._cluster = Cluster(address)
        self._serving = f"{address.prefix}-events-{VERSION}"
        self._own = f"{address.prefix}-build-{VERSION}"
        self._live = ElasticIndex(self._cluster, self._serving, made=self._make_first)
        self._opened: dict[int, ElasticIndex] = {}
        self._made = False

    async def live(self) -> ElasticIndex:
        """The index that serves, at every moment; the first one is made where there is none."""
        if not self._made:
            await self._make_first()
        return self._live

    async def open(self, build: int) -> ElasticIndex:
        """The index of a build, made where there is none."""
        states = await self._states()
        if build not in states:
            await self._make(build, FILLING, _BUILDING, {})
        filling = states.get(build, _BUILDING) == _BUILDING and build != await self.serving()
        if build not in self._opened:

            async def made() -> None:
                if build not in await self._states():
                    await self._make(build, FILLING, _BUILDING, {})

            self._opened[build] = ElasticIndex(self._cluster, f"{self._own}-{build}", made=made, filling=filling)
        return self._opened[build]

    async def serving(self) -> int:
        """The build that serves."""
        return await self._behind_alias() or 1

    async def existing(self) -> list[int]:
        """The finished builds that there are, of this version of the documents."""
        serving = await self._behind_alias()
        return sorted(
            build for build, state in (await self._states()).items() if state == _FINISHED or build == serving
        )

    async def begin(self) -> int:
        """The build that was begun and never served, or a new one."""
        states, serving = await self._states(), await self._behind_alias()
        begun = [build for build, state in states.items() if state == _BUILDING and build != serving]
        if begun:
            return max(begun)
        build = max([serving or 1, *states]) + 1
        await self._make(build, FILLING, _BUILDING, {})
        return build

    async def serve(self, build: int) -> None:
        """Let `build` serve from now on, in every process: all at once, as the alias moves."""
        name, before = self._name(build), await self._behind_alias()
        await self._tell(lambda client: client.indices.put_settings(index=name, settings=SERVING))
        await self._tell(lambda client: client.indices.refresh(index=name))
        actions: list[Mapping[str, Any]] = [{"add": {"index": name, "alias": self._serving}}]
        if before is not None and before != build:
            actions.append({"remove": {"index": self._name(before), "alias": self._serving}})
        await self._tell(lambda client: client.indices.update_aliases(actions=actions))
        await self._tell(lambda client: client.indices.put_mapping(index=name, meta={"state": _FINISHED}))
        self._opened.pop(build, None)

    async def drop(self, build: int) -> None:
        """Delete a build that does not serve."""
        index = self._opened.pop(build, None)
        if index is not None:
            await index.close()
        try:
            await self._tell(lambda client: client.indices.delete(index=self._name(build)))
        except SearchMissing:
            return

    async def close(self) -> None:
        """Close what is open."""
        for index in [self._live, *self._opened.values()]:
            await index.close()
        await self._cluster.close()

    async def _make_first(self) -> None:
        """See that one serves."""
        if await self._behind_alias() is None:
            states = await self._states()
            await self._make(max(states, default=0) + 1, SERVING, _FINISHED, {self._serving: {}})
        if not self._made:
            await self._answering()
        self._made = True

    async def _answering(self) -> None:
        """Wait for the index to answer, which another process may have just made; raises `SearchUnavailable`."""
        for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6):
            try:
                # Asking for the cluster's health would take a privilege that nothing else takes.
                return await self._tell(lambda client: client.search(index=self._serving, size=0))
            except SearchMissing:
                raise
            except SearchUnavailable:
                await asyncio.sleep(pause)
        return await self._tell(lambda client: client.search(index=self._serving, size=0))

    async def _make(self, build: int, settings: Mapping[str, Any], state: str, aliases: Mapping[str, Any]) -> None:
        try:
            await self._tell(
                lambda client: client.indices.create(
                    index=self._name(build),
                    aliases={f"{self._own}-{build}": {}, **aliases},
                    settings={"number_of_shards": 1, **settings},
                    mappings={**MAPPING, "_meta": {"state": state}},
                )
            )
        except ApiError as error:
            # Another process was quicker.
            if refusal(error.body) != "resource_already_exists_exception":
                raise

    async def _states(self) -> dict[int, str]:
        """Whether each build is finished."""
        found = await self._cluster.ask(
            lambda client: client.indices.get_mapping(index=f"{self._serving}-*", filter_path="*.mappings._meta"),
            dict[str, _Mapped],
            patient=True,
        )
        return {self._number(name): mapped.mappings.meta.state for name, mapped in found.items()}

    async def _behind_alias(self) -> int | None:
        try:
            found = await self._cluster.ask(
                lambda client: client.indices.get_alias(name=self._serving), dict[str, Nothing], patient=True
            )
        except SearchMissing:
            return None
        return max(map(self._number, found), default=None)

    async def _tell(self, what: Ask) -> None:
        await self._cluster.ask(what, Nothing, patient=True)

    def _name(self, build: int) -> str:
        return f"{self._serving}-{build:d}"

    def _number(self, name: str) -> int:
        return int(name.removeprefix(f"{self._serving}-"))


class _Meta(Struct):
    state: str = _FINISHED


class _Mappings(Struct, rename={"meta": "_meta"}):
    meta: _Meta = field(default_factory=_Meta)


class _Mapped(Struct):
    mappings: _Mappings
