"""What `scripts/servers.sh` can be told about the servers that it starts."""

from __future__ import annotations

import os
from pathlib import Path

import asyncpg
import pytest

from tests.platform.servers import Servers


@pytest.mark.skipif("MYEVENTS_TEST_LOG_URL" not in os.environ, reason="needs the servers' programs: see `make servers`")
async def test_postgres_starts_in_the_time_zone_that_is_asked_for(directory: Path) -> None:
    servers = Servers(directory, "postgres", POSTGRES_TIMEZONE="Asia/Kathmandu")
    servers.start()
    try:
        connection = await asyncpg.connect(servers.url("postgres"), timeout=30)
        zone = await connection.fetchval("show timezone")
        await connection.close()
    finally:
        servers.stop()
    assert zone == "Asia/Kathmandu"
