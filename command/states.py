"""The states of one partition's streams, kept between rounds; the lock tells whether they are still true."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from command import snapshots, streams
from command.streams import State
from myevents import store
from myevents.store import Connection


class StateCache:
    """The states last seen, the longest unused forgotten first.

    Streams are written by other processes too. `_foreign` is the newest head under which somebody else may
    have written: a state known at that head or later needs no reading, an older one reads what is newer.
    """

    def __init__(self, size: int = 2000) -> None:
        self._size = size
        self._states: OrderedDict[str, tuple[int, State]] = OrderedDict()
        self._own_head = -1
        self._foreign = 0

    async def load(self, connection: Connection, head: int, stream_ids: Collection[str]) -> dict[str, State]:
        """The states of those streams as of `head`, the partition's head under the caller's lock."""
        if head != self._own_head:
            self._foreign = head
        states: dict[str, State] = {}
        stale: dict[str, State] = {}
        for stream_id in stream_ids:
            known = self._states.get(stream_id)
            if known is None:
                stale[stream_id] = await snapshots.load(connection, stream_id)
            elif known[0] < self._foreign:
                stale[stream_id] = known[1]
            else:
                states[stream_id] = known[1]
        if stale:
            versions = {stream_id: state.version for stream_id, state in stale.items()}
            for stream_id, _, fact in await store.facts_newer_than(connection, versions):
                stale[stream_id] = streams.evolve(stale[stream_id], fact)
        return states | stale

    def keep(self, head: int, states: dict[str, State]) -> None:
        """Take over the states of a committed round that moved the partition to `head`."""
        self._own_head = head
        for stream_id, state in states.items():
            self._states[stream_id] = (head, state)
            self._states.move_to_end(stream_id)
        while len(self._states) > self._size:
            self._states.popitem(last=False)
