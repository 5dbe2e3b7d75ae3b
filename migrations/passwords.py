"""Gives the services' roles their passwords, of which the server learns no more than it needs to check them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final

import asyncpg

from schema.sessions import SESSION_SETTINGS

_ITERATIONS: Final = 4096
_SALT_BYTES: Final = 16
_TIMEOUT_SECONDS: Final = 10.0


async def set_passwords(dsn: str, passwords: Mapping[str, str]) -> None:
    """Give each role its password, by the role's name; `dsn` is of a login that may change them.

    Sessions that are there go on. Raises `OSError` or asyncpg's errors, which repeat no password.
    """
    if not passwords:
        return
    connection = await asyncpg.connect(
        dsn,
        timeout=_TIMEOUT_SECONDS,
        command_timeout=_TIMEOUT_SECONDS,
        server_settings=dict(SESSION_SETTINGS),
    )
    try:
        for role, password in passwords.items():
            name = await connection.fetchval("select quote_ident($1)", role)
            await connection.execute(f"alter role {name} password '{scram_verifier(password)}'")
    finally:
        await connection.close(timeout=_TIMEOUT_SECONDS)


def scram_verifier(password: str) -> str:
    """Return what PostgreSQL keeps of an ASCII password: RFC 5803 for SCRAM-SHA-256, with a random salt.

    Hashed here, since the statement may come to be in the server's log.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"
