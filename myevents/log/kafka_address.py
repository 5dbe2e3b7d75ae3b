"""Where Kafka is, out of `MYEVENTS_LOG_URL`: for all who speak to it, so that none of them reads the URL otherwise."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from myevents.errors import SettingsError

TOPIC: Final = "myevents.facts"
"""The topic that carries the facts, unless the URL names another."""

_SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


@dataclass(frozen=True, kw_only=True)
class KafkaAddress:
    """Brokers to ask first, and the topic; `replication` is how many brokers keep a fact, None: as many as sensible."""

    servers: tuple[str, ...]
    topic: str = TOPIC
    replication: int | None = None

    def connection(self) -> dict[str, Any]:
        """What every client is given: it tries again each second at the latest, and gives no answer up after 10 s."""
        return {
            "bootstrap_servers": list(self.servers),
            "bootstrap_timeout_ms": 5_000,
            "request_timeout_ms": 10_000,
            "reconnect_backoff_max_ms": 1_000,
            "metadata_max_age_ms": 30_000,
        }


def kafka_address(log_url: str) -> KafkaAddress | None:
    """Where Kafka is, None where the store is the log; raises `SettingsError` saying what does not fit."""
    parts = urlsplit(log_url)
    if parts.scheme != "kafka":
        return None
    servers = tuple(parts.netloc.split(","))
    if not all(_SERVER.fullmatch(server) for server in servers) or parts.path not in ("", "/"):
        raise SettingsError("MYEVENTS_LOG_URL must name brokers, as in kafka://host:9092,other:9092")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    topic, replication = options.pop("topic", TOPIC), options.pop("replication", None)
    if options:
        raise SettingsError(f"MYEVENTS_LOG_URL takes topic and replication, not {', '.join(sorted(options))}")
    if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
        raise SettingsError("MYEVENTS_LOG_URL names a topic that Kafka does not take: letters, digits, '.', '_', '-'")
    if replication is not None and not re.fullmatch(r"[1-9][0-9]?", replication):
        raise SettingsError("MYEVENTS_LOG_URL must have a replication of 1 to 99")
    return KafkaAddress(servers=servers, topic=topic, replication=int(replication) if replication else None)
