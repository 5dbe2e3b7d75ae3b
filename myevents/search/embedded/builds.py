"""The builds of the index, a directory each; a file beside them names the one that serves."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Final

from myevents.search.embedded.documents import VERSION
from myevents.search.embedded.index import EmbeddedIndex

_SERVING: Final = "SERVING"
_BUILDING: Final = "BUILDING"


class EmbeddedBuilds:
    """`1-1`, `1-2`... under `directory`: the version of the documents, and the number of the build."""

    rest = 3.0

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._opened: dict[int, EmbeddedIndex] = {}

    async def live(self) -> EmbeddedIndex:
        """The index that serves; the first one is made where there is none."""
        return await self.open(self._serving())

    async def open(self, build: int) -> EmbeddedIndex:
        """The index of a build, made where there is none."""
        if build not in self._opened:
            self._opened[build] = await asyncio.to_thread(EmbeddedIndex, self._path(build))
        return self._opened[build]

    async def serving(self) -> int:
        """The build that serves."""
        return self._serving()

    async def existing(self) -> list[int]:
        """The finished builds that there are, of this version of the documents."""
        found = sorted(int(path.name.partition("-")[2]) for path in self._directory.glob(f"{VERSION}-*"))
        return [build for build in found if build != self._named(_BUILDING)]

    async def begin(self) -> int:
        """The build that was begun and never served, or a new one."""
        build = self._named(_BUILDING)
        if build is None:
            build = max([self._serving(), *await self.existing()]) + 1
            self._name(_BUILDING, build)
        return build

    async def serve(self, build: int) -> None:
        """Let `build` serve from now on, in every process."""
        self._name(_SERVING, build)
        if self._named(_BUILDING) == build:
            (self._directory / _BUILDING).unlink()

    async def drop(self, build: int) -> None:
        """Delete a build that does not serve."""
        index = self._opened.pop(build, None)
        if index is not None:
            await index.close()
        await asyncio.to_thread(shutil.rmtree, self._path(build), ignore_errors=True)

    async def close(self) -> None:
        """Close what is open."""
        opened, self._opened = self._opened, {}
        for index in opened.values():
            await index.close()

    def _serving(self) -> int:
        # A small file says so, which is quicker to read than to watch.
        return self._named(_SERVING) or 1

    def _path(self, build: int) -> Path:
        return self._directory / f"{VERSION}-{build:d}"

    def _named(self, file: str) -> int | None:
        try:
            version, _, build = (self._directory / file).read_text().partition("-")
        except FileNotFoundError:
            return None
        return int(build) if version == str(VERSION) else None

    def _name(self, file: str, build: int) -> None:
        fresh = self._directory / f"{file}.new"
        fresh.write_text(f"{VERSION}-{build}")
        os.replace(fresh, self._directory / file)
