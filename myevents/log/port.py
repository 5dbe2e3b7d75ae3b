"""What a reader of the log can rely on, whatever carries it."""

from __future__ import annotations

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

    async def changed(self, timeout: float) -> None:
        """Return when something may have been added since the last call, or after `timeout` seconds."""
