"""Makes Kafka's clients so that one which cannot be made leaves nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

from kafka.errors import KafkaError as KafkaError
from kafka.net.compat import KafkaNetClient

from myevents.log.kafka_address import KafkaAddress

Client = TypeVar("Client")

KAFKA_AWAY: Final = (KafkaError, OSError)
"""What a Kafka that is away, or just comes back, answers with: it passes by itself."""


def made(kind: Callable[..., Client], address: KafkaAddress, **settings: Any) -> Client:
    """A client of that kind, connected; raises `KafkaError`. It blocks for 5 s at most, so call it off the loop."""
    begun: list[KafkaNetClient] = []

    def network(**config: Any) -> KafkaNetClient:
        begun.append(KafkaNetClient(**config))
        return begun[-1]

    try:
        return kind(**address.connection(), kafka_client=network, **settings)
    except BaseException:
        # The client's constructor starts a thread and sockets, and forgets them where no broker answers.
        for client in begun:
            with contextlib.suppress(Exception):
                client.close()
            client._net.stop(timeout_ms=1_000)
        raise
