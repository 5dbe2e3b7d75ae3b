"""Where the search index is, as the settings say it; and what they never show."""

from __future__ import annotations

import pytest

from myevents.errors import SettingsError
from myevents.search.elastic.address import Address, address_of
from myevents.settings import Settings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:19200", Address(host="127.0.0.1", port=19200)),
        ("https://search.example", Address(host="search.example", port=9200, tls=True)),
        ("https://search.example/stage-2/", Address(host="search.example", port=9200, tls=True, prefix="stage-2")),
        ("http://[::1]:9200", Address(host="[::1]", port=9200)),
        ("https://me:p%40ss@h:1", Address(host="h", port=1, tls=True, user="me", password="p@ss")),
        ("https://h?api_key=a%2Bb", Address(host="h", port=9200, tls=True, api_key="a+b")),
    ],
)
def test_a_url_says_where_it_is_and_who_asks(url: str, expected: Address) -> None:
    assert address_of(url) == expected


def test_a_key_and_an_authority_may_come_beside_the_url() -> None:
    address = address_of("https://h:9200", api_key="k", ca="/ca.pem")
    assert (address.api_key, address.ca) == ("k", "/ca.pem")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://", "needs a host"),
        ("http://h:port", "is no URL"),
        ("http://h/Events", "small letters"),
        ("http://h/a/b", "small letters"),
        ("http://h/_all", "small letters"),
        ("https://me:pass@h?api_key=k", "not both"),
    ],
)
def test_what_cannot_be_is_said_without_the_secrets(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as refused:
        address_of(url)
    assert "pass@" not in str(refused.value)


def test_secrets_do_not_show() -> None:
    environment = {"MYEVENTS_SEARCH_URL": "https://me:hush-hush@h", "MYEVENTS_SEARCH_API_KEY": "hush-key"}
    settings = Settings.from_environment(environment)
    shown = repr(settings) + repr(address_of(settings.search_url)) + repr(address_of("https://h?api_key=hush-three"))
    assert "hush" not in shown
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"MYEVENTS_SEARCH_URL": "ftp://me:hush@h"})
    assert "hush" not in str(refused.value)
