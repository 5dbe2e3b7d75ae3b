"""TLS for those who listen: one context for all connections, into which a renewed certificate is loaded."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final

import structlog

from myevents.errors import SettingsError

LOOK: Final = 2.0
"""Seconds between two looks at the files of a certificate."""

_log = structlog.get_logger()


class Certificate:
    """A certificate and its key, as files that may be renewed while they are in use."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load both; raises `SettingsError` naming the setting that does not fit."""
        self._files = (certificate, key)
        self._seen = self._look()
        self.context = self._loaded(_server_context())

    async def renew(self) -> None:
        """Load what is new, until cancelled; a pair that does not fit is told of, and the old one stays."""
        while True:
            await asyncio.sleep(LOOK)
            now = await asyncio.to_thread(self._look)
            if now == self._seen:
                continue
            self._seen = now
            try:
                # First into a context of its own: half a pair would spoil the one in use.
                self._loaded(_server_context())
                self._loaded(self.context)
                _log.info("certificate_renewed")
            except SettingsError as error:
                _log.error("certificate_not_renewed", reason=str(error))

    def _look(self) -> tuple[object, ...]:
        return tuple(_state(file) for file in self._files)

    def _loaded(self, context: ssl.SSLContext) -> ssl.SSLContext:
        certificate, key = self._files
        for file, setting in ((certificate, "MYEVENTS_TLS_CERTIFICATE"), (key, "MYEVENTS_TLS_KEY")):
            try:
                file.open("rb").close()
            except OSError as error:
                raise SettingsError(f"{setting}: {file} cannot be read ({error.strerror}).") from None
        try:
            # A key that asks for a password would ask whoever sits at the terminal.
            context.load_cert_chain(certificate, key, password=lambda: "")
        except ssl.SSLError as error:
            if "MISMATCH" in str(error.reason):
                message = "MYEVENTS_TLS_KEY does not belong to the certificate of MYEVENTS_TLS_CERTIFICATE"
            else:
                message = "MYEVENTS_TLS_CERTIFICATE and MYEVENTS_TLS_KEY must be PEM files, the key without a password"
            raise SettingsError(f"{message} ({error.reason}).") from None
        return context


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
