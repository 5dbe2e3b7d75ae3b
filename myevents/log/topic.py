"""The topic of the facts: as many partitions as the store, kept for ever. Made by `migrate`, looked at by all readers.

A topic has an id of its own: one that was deleted and made anew under the same name is another one, and empty.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from myevents.errors import MyEventsError
from myevents.log.kafka_address import KafkaAddress
from myevents.log.kafka_clients import made

_FOR_EVER: Final = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}


class TopicMissing(MyEventsError):
    """There is no such topic: `myevents migrate` makes it."""


class TopicUnfit(MyEventsError):
    """The topic cannot carry this store's facts; the message says what to do."""


async def ensure_topic(address: KafkaAddress, partitions: int) -> str:
    """Make the topic where it is not there, and see that it keeps facts for ever; its id.

    Raises `TopicUnfit`, and `KafkaError` where Kafka is away.
    """
    return await asyncio.to_thread(_ensured, address, partitions)


async def topic_id(address: KafkaAddress, partitions: int) -> str:
    """The id of the topic that is there; raises `TopicMissing`, `TopicUnfit`, `KafkaError`."""
    return await asyncio.to_thread(_found, address, partitions)


def _ensured(address: KafkaAddress, partitions: int) -> str:
    with _admin(address) as admin:
        try:
            found = _checked(admin, address.topic, partitions)
        except TopicMissing:
            with contextlib.suppress(TopicAlreadyExistsError):
                admin.create_topics({address.topic: _wanted(admin, address, partitions)}, timeout_ms=10_000)
            admin.wait_for_topics([address.topic])
            return _checked(admin, address.topic, partitions)
        _keep_for_ever(admin, address.topic)
        return found


def _found(address: KafkaAddress, partitions: int) -> str:
    with _admin(address) as admin:
        return _checked(admin, address.topic, partitions)


@contextlib.contextmanager
def _admin(address: KafkaAddress) -> Iterator[KafkaAdminClient]:
    admin = made(KafkaAdminClient, address, client_id="myevents-topic")
    try:
        yield admin
    finally:
        admin.close()


def _wanted(admin: KafkaAdminClient, address: KafkaAddress, partitions: int) -> dict[str, Any]:
    copies = address.replication or min(3, len(admin.describe_cluster()["brokers"]))
    configs = _FOR_EVER | {"min.insync.replicas": str(min(2, copies))}
    return {"num_partitions": partitions, "replication_factor": copies, "configs": configs}


def _checked(admin: KafkaAdminClient, topic: str, partitions: int) -> str:
    described = admin.describe_topics([topic])[0]
    error = for_code(described["error_code"])
    if error is UnknownTopicOrPartitionError:
        raise TopicMissing(f"Kafka has no topic {topic}: run `myevents migrate`, which makes it.")
    if described["error_code"]:
        raise error(topic)
    found = len(described["partitions"])
    if found != partitions:
        raise TopicUnfit(
            f"Topic {topic} has {found} partitions, the store has {partitions}, and a fact's partition never changes: "
            "name another topic in MYEVENTS_LOG_URL (?topic=...), or delete this one if nobody needs it, and run "
            "`myevents migrate`; the relay fills the new one from the store."
        )
    return str(described["topic_id"])


def _keep_for_ever(admin: KafkaAdminClient, topic: str) -> None:
    """Set what makes the topic lose facts, where somebody has changed it."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    [described] = admin.describe_configs([resource], config_filter="all")["topic"].values()
    if any(described[name]["value"] != value for name, value in _FOR_EVER.items()):
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(_FOR_EVER))])
