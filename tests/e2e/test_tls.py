"""The services over TLS, with certificates that a test makes itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.served import PROGRAM, Served, environment, free_port, served, until
from tests.e2e.test_serving import ANN, EVENT

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")


class Pair:
    """A certificate of its own authority for 127.0.0.1, and its key."""

    def __init__(self, directory: Path, name: str) -> None:
        self.certificate = directory / f"{name}.pem"
        self.key = directory / f"{name}.key"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-days", "2", "-subj", "/CN=MyEvents", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(self.key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )

    def trusted(self) -> ssl.SSLContext:
        """What a caller has who trusts this certificate alone."""
        return ssl.create_default_context(cafile=self.certificate)

    def settings(self, port: int) -> dict[str, str]:
        """What a service is told to listen with it."""
        return {
            "MYEVENTS_TLS_CERTIFICATE": str(self.certificate),
            "MYEVENTS_TLS_KEY": str(self.key),
            "MYEVENTS_TLS_PORT": str(port),
        }


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A certificate."""
    return Pair(tmp_path, "first")


@pytest.fixture
def port() -> int:
    """Where to listen with TLS."""
    return free_port()


@pytest.fixture(params=["serve", "command", "query"])
def service(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, pair: Pair, port: int
) -> Iterator[Served]:
    """Each service in turn, not started yet."""
    with served(database_url, tmp_path, request.param, pair.settings(port)) as process:
        yield process


async def status(url: str, trust: ssl.SSLContext) -> int:
    """How /readyz is answered on a connection of its own; 0: that connection cannot be had."""
    async with httpx.AsyncClient(verify=trust, timeout=10) as client:
        try:
            return (await client.get(f"{url}/readyz")).status_code
        except httpx.ConnectError:
            return 0


async def test_a_service_answers_over_tls_beside_the_plain_port(service: Served, pair: Pair, port: int) -> None:
    await service.start()
    assert await status(f"https://127.0.0.1:{port}", pair.trusted()) == 200
    assert await status(f"https://127.0.0.1:{port}", ssl.create_default_context()) == 0
    assert await status(service.url, pair.trusted()) == 200
    assert service.stop() == 0


async def test_a_caller_of_before_tls_1_2_is_not_talked_to(service: Served, pair: Pair, port: int) -> None:
    await service.start()
    modern = pair.trusted()
    modern.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await status(f"https://127.0.0.1:{port}", modern) == 200
    said = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_1", "-cipher", "ALL@SECLEVEL=0"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert await said.wait() != 0


@pytest.mark.parametrize("service", ["serve"], indirect=True)
async def test_bookings_over_tls_and_plain_see_each_other(service: Served, pair: Pair, port: int) -> None:
    await service.start()
    safe = f"https://127.0.0.1:{port}"
    async with httpx.AsyncClient(verify=pair.trusted(), headers=ANN) as client:
        event = (await client.post(f"{safe}/api/events", json=EVENT)).json()["id"]
        for base in (safe, service.url):
            answer = await client.post(f"{base}/api/events/{event}/bookings", json={"seats": 5})
            assert answer.status_code == 201
        assert (await client.post(f"{safe}/api/events/{event}/bookings", json={"seats": 1})).status_code == 409


@pytest.mark.parametrize("service", ["query"], indirect=True)
async def test_a_renewed_certificate_is_taken_without_a_restart_and_a_bad_one_is_not(
    service: Served, pair: Pair, port: int, tmp_path: Path
) -> None:
    await service.start()
    url = f"https://127.0.0.1:{port}"
    old, renewed = pair.trusted(), Pair(tmp_path, "second")
    # Only half of the new pair is there yet.
    os.replace(renewed.key, pair.key)
    await until(lambda: _said(service, "certificate_not_renewed"))
    assert await status(url, old) == 200
    trusted = renewed.trusted()
    os.replace(renewed.certificate, pair.certificate)

    async def taken() -> bool:
        return await status(url, trusted) == 200

    await until(taken)
    assert await status(url, old) == 0


async def _said(service: Served, what: str) -> bool:
    return what in service.said()


@pytest.mark.parametrize("fault", ["foreign key", "no certificate", "no key", "not given", "junk"])
def test_a_pair_that_does_not_fit_is_refused_by_the_name_of_its_setting(
    database_url: str, tmp_path: Path, pair: Pair, port: int, fault: str
) -> None:
    told = environment(database_url, tmp_path) | {"MYEVENTS_PORT": str(free_port())} | pair.settings(port)
    named = "MYEVENTS_TLS_KEY"
    match fault:
        case "foreign key":
            told["MYEVENTS_TLS_KEY"] = str(Pair(tmp_path, "other").key)
        case "no certificate":
            pair.certificate.unlink()
            named = "MYEVENTS_TLS_CERTIFICATE"
        case "no key":
            pair.key.unlink()
        case "not given":
            del told["MYEVENTS_TLS_KEY"]
        case _:
            pair.certificate.write_text("junk")
            named = "MYEVENTS_TLS_CERTIFICATE"
    done = subprocess.run([PROGRAM, "query"], env=told, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
