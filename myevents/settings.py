"""The environment, read once into frozen settings. A URL picks the adapter; secrets never show in a repr."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from myevents.errors import SettingsError
from schema.tables import COMMAND_ROLE, PROJECTOR_ROLE, QUERY_ROLE, RELAY_ROLE


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the services can be told from outside; every field has a default that works on a laptop."""

    database_url: str = field(default="embedded:var/postgres", repr=False)
    search_url: str = field(default="embedded:var/search", repr=False)
    search_api_key: str = field(default="", repr=False)
    search_ca: str = ""
    """A file of the authority that vouches for Elasticsearch; empty: the system's."""
    read_database_url: str = field(default="", repr=False)
    """Where the read models are; empty for the database itself."""
    read_replica_urls: tuple[str, ...] = field(default=(), repr=False)
    """Copies of the read models' database that queries are spread over, one URL a server; none by default."""
    role_passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Passwords that `migrate` gives to the services' roles, by role; those that are not there stay as they are."""
    log_url: str = "store:"
    cache_url: str = field(default="memory:", repr=False)
    secret: str = field(default="", repr=False)
    host: str = "127.0.0.1"
    port: int = 8080
    tls_certificate: str = ""
    """A file; empty: nobody listens with TLS."""

    tls_key: str = ""
    tls_port: int = 9191
    requests_per_minute: int = 0
    """Queries of one caller; 0: any number."""

    commands_per_minute: int = 0
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks whose word is taken for where a request comes from."""

    traces_url: str = field(default="", repr=False)
    """Where spans are sent by OTLP over HTTP; empty: nowhere."""

    traces_ratio: float = 0.1
    """The part of the traces beginning here that are sent."""

    access_log: bool = False
    stop_delay: float = 1.0
    """Seconds that requests are taken after /readyz has told that the process is about to stop."""

    metrics_port: int = 9100
    """0: nobody is told of metrics."""

    metrics_port_is_given: bool = False
    """One that is not, but is taken, is no reason not to serve."""

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] = os.environ,
        *,
        port: int = 8080,
        tls_port: int = 9191,
        metrics_port: int = 9100,
    ) -> Settings:
        """Read `MYEVENTS_*`, ports being the service's own; raises `SettingsError` naming what does not fit."""
        return cls(
            database_url=_url(environment, "MYEVENTS_DATABASE_URL", cls.database_url, ("embedded", "postgresql")),
            search_url=_url(environment, "MYEVENTS_SEARCH_URL", cls.search_url, ("embedded", "http", "https")),
            search_api_key=environment.get("MYEVENTS_SEARCH_API_KEY", ""),
            search_ca=environment.get("MYEVENTS_SEARCH_CA", ""),
            read_database_url=_url(environment, "MYEVENTS_READ_DATABASE_URL", "", ("embedded", "postgresql")),
            read_replica_urls=_replicas(environment, "MYEVENTS_READ_REPLICA_URL"),
            role_passwords=_passwords(environment),
            log_url=_url(environment, "MYEVENTS_LOG_URL", cls.log_url, ("store", "kafka")),
            cache_url=_url(environment, "MYEVENTS_CACHE_URL", cls.cache_url, ("memory", "redis", "rediss")),
            secret=environment.get("MYEVENTS_SECRET", ""),
            host=environment.get("MYEVENTS_HOST", cls.host),
            port=_port(environment, "MYEVENTS_PORT", port),
            tls_certificate=environment.get("MYEVENTS_TLS_CERTIFICATE", ""),
            tls_key=environment.get("MYEVENTS_TLS_KEY", ""),
            tls_port=_port(environment, "MYEVENTS_TLS_PORT", tls_port),
            requests_per_minute=_number(environment, "MYEVENTS_REQUESTS_PER_MINUTE"),
            commands_per_minute=_number(environment, "MYEVENTS_COMMANDS_PER_MINUTE"),
            trusted_proxies=_networks(environment, "MYEVENTS_TRUSTED_PROXIES"),
            traces_url=_url(environment, "MYEVENTS_TRACES_URL", "", ("http", "https")),
            traces_ratio=_part(environment, "MYEVENTS_TRACES_RATIO", cls.traces_ratio),
            access_log=_yes(environment, "MYEVENTS_ACCESS_LOG"),
            stop_delay=_seconds(environment, "MYEVENTS_STOP_DELAY", cls.stop_delay),
            metrics_port=_port(environment, "MYEVENTS_METRICS_PORT", metrics_port),
            metrics_port_is_given="MYEVENTS_METRICS_PORT" in environment,
        )

    @property
    def reads_apart(self) -> bool:
        """Whether the read models are in a database of their own."""
        return self.read_database_url not in ("", self.database_url)


def _url(environment: Mapping[str, str], name: str, default: str, schemes: tuple[str, ...]) -> str:
    value = environment.get(name, default)
    if value and urlsplit(value).scheme not in schemes:
        raise SettingsError(f"{name} must start with one of {', '.join(s + ':' for s in schemes)}")
    return value


def _passwords(environment: Mapping[str, str]) -> dict[str, str]:
    names = {
        COMMAND_ROLE: "MYEVENTS_COMMAND_PASSWORD",
        PROJECTOR_ROLE: "MYEVENTS_PROJECTOR_PASSWORD",
        QUERY_ROLE: "MYEVENTS_QUERY_PASSWORD",
        RELAY_ROLE: "MYEVENTS_RELAY_PASSWORD",
    }
    given = {role: environment[name] for role, name in names.items() if environment.get(name)}
    for role, password in given.items():
        # Others would have to be normalised as the server does it.
        if not re.fullmatch(r"[!-~]{1,200}", password, re.ASCII):
            raise SettingsError(f"{names[role]} must be 1 to 200 ASCII characters without spaces")
    return given


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    value = environment.get(name, str(default))
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3})?", value, re.ASCII):
        raise SettingsError(f"{name} must be seconds, 0 to 999")
    return float(value)


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "0")
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise SettingsError(f"{name} must be a number, 0 for no limit")
    return int(value)


def _networks(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    value = environment.get(name, "")
    try:
        return tuple(str(ipaddress.ip_network(part.strip())) for part in value.split(",") if part.strip())
    except ValueError:
        raise SettingsError(f"{name} must be addresses or networks, as in 10.0.0.1,192.168.0.0/16") from None


def _replicas(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """One URL a server, of several URLs or of one with several hosts, parted by commas."""
    urls: list[str] = []
    for part in filter(None, environment.get(name, "").split(",")):
        if "://" in part:
            urls.append(part)
        elif urls:
            # One more host of the URL before: its user, database and options are the same.
            urls[-1] += f",{part}"
    for url in urls:
        if urlsplit(url).scheme != "postgresql":
            raise SettingsError(f"{name} must start with one of postgresql:")
    return tuple(one for url in urls for one in _each_host(url))


def _each_host(url: str) -> Iterator[str]:
    """The URL once for each of its hosts."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    for host in hosts.split(","):
        yield urlunsplit(parts._replace(netloc=f"{user}{at}{host}"))


def _part(environment: Mapping[str, str], name: str, default: float) -> float:
    value = environment.get(name, str(default))
    if not re.fullmatch(r"[01](\.\d{1,6})?", value, re.ASCII) or float(value) > 1:
        raise SettingsError(f"{name} must be a part, 0 to 1")
    return float(value)


def _yes(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "")
    if value not in ("", "0", "1"):
        raise SettingsError(f"{name} must be 1, 0 or empty")
    return value == "1"


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, str(default))
    if not value.isascii() or not value.isdigit() or int(value) > 65535:
        raise SettingsError(f"{name} must be a port, 0 to 65535")
    return int(value)
