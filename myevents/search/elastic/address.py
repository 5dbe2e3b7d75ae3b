"""Where an Elasticsearch is and how it lets us in, as the settings say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from myevents.errors import SettingsError

PREFIX: Final = "myevents"
_ALLOWED: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


@dataclass(frozen=True, kw_only=True)
class Address:
    """What is in a URL and beside it; secrets never show in a repr."""

    host: str
    port: int
    tls: bool = False
    prefix: str = PREFIX
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    ca: str | None = None


def address_of(url: str, *, api_key: str = "", ca: str = "") -> Address:
    """Take `http(s)://[user:password@]host[:port][/prefix][?api_key=...]` apart; raises `SettingsError`."""
    try:
        parts = urlsplit(url)
        port = parts.port or 9200
    except ValueError as error:
        raise SettingsError("MYEVENTS_SEARCH_URL is no URL") from error
    if not parts.hostname:
        raise SettingsError("MYEVENTS_SEARCH_URL needs a host, as in http://127.0.0.1:9200")
    prefix = parts.path.strip("/") or PREFIX
    if not set(prefix) <= _ALLOWED or prefix[0] in "-_.":
        raise SettingsError("MYEVENTS_SEARCH_URL: the path begins the names of indexes: small letters, digits, - _ .")
    key = api_key or parse_qs(parts.query).get("api_key", [""])[0]
    if key and parts.username is not None:
        raise SettingsError("MYEVENTS_SEARCH_URL: give a user and password or an API key, not both")
    return Address(
        host=f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname,
        port=port,
        tls=parts.scheme == "https",
        prefix=prefix,
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        api_key=key or None,
        ca=ca or None,
    )
