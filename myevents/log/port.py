"""What a reader of the log can rely on, whatever carries it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from schema.facts import RecordedFact, UnreadableFact


class Log(Protocol):
    """The facts in order. Within a partition there is no gap, and nothing uncommitted is ever seen."""

    @property
    def partitions(self) -> int:
        """How many partitions there are; fixed."""

    async def read(self, partition: int, after: int, limit: int = 1000) -> list[RecordedFact | UnreadableFact]:
        """The facts of `partition` with seq `after` + 1 and on, at most `limit`, without a gap."""

    async def read_stream(
        self, stream_id: str, after_version: int = 0, limit: int = 1000
    ) -> list[RecordedFact | UnreadableFact]:
        """The facts of one stream with a version above `after_version`, in order."""

    async def heads(self) -> dict[int, int]:
        """The seq of the last fact of each partition; 0 where there is none."""

    async def seen(self) -> dict[int, int]:
        """The heads, or while nobody can tell them now, the furthest that is known of: to tell a lag by."""

    async def ahead(self, checkpoints: Mapping[int, int]) -> dict[int, int]:
        """For whoever follows the log and has come to `checkpoints`: how far he can go on now.

        Only partitions that are his to follow are in it; others are followed by another process, or not known yet.
        What is up to the checkpoints he will not read again.
        """

    async def changed(self, timeout: float) -> None:
        """Return when something may have been added since the last call, or after `timeout` seconds."""
