"""What MYEVENTS_LOG_URL may say, and what is told to those who say something else."""

from __future__ import annotations

import pytest

from myevents.errors import SettingsError
from myevents.log.kafka_address import KafkaAddress, kafka_address
from myevents.settings import Settings


def test_the_store_is_the_log_unless_kafka_is_named() -> None:
    assert Settings.from_environment({}).log_url == "store:"
    assert kafka_address("store:") is None


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("kafka://127.0.0.1:9092", KafkaAddress(servers=("127.0.0.1:9092",), topic="myevents.facts")),
        ("kafka://a:1,b-2.x:2/", KafkaAddress(servers=("a:1", "b-2.x:2"), topic="myevents.facts")),
        ("kafka://[::1]:9092?topic=t_1.x", KafkaAddress(servers=("[::1]:9092",), topic="t_1.x")),
        ("kafka://a:1?replication=2", KafkaAddress(servers=("a:1",), replication=2)),
    ],
)
def test_brokers_and_topic_are_read(url: str, address: KafkaAddress) -> None:
    assert kafka_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "kafka:",
        "kafka://",
        "kafka://host",
        "kafka://a:1,",
        "kafka://a:1/topic",
        "kafka://a:1?topic=",
        "kafka://a:1?topic=a/b",
        "kafka://a:1?replication=0",
        "kafka://a:1?tpoic=x",
    ],
)
def test_what_does_not_fit_is_said(url: str) -> None:
    with pytest.raises(SettingsError, match="MYEVENTS_LOG_URL"):
        kafka_address(url)


def test_another_scheme_is_refused() -> None:
    with pytest.raises(SettingsError, match="store:, kafka:"):
        Settings.from_environment({"MYEVENTS_LOG_URL": "http://a:1"})
