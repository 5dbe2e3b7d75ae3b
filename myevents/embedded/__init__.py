"""The PostgreSQL that comes along: a real server from a wheel, on a socket, fsync on, in a directory of ours."""

from myevents.embedded.errors import EmbeddedError
from myevents.embedded.server import SOCKET_LIMIT, EmbeddedPostgres

__all__ = ["SOCKET_LIMIT", "EmbeddedError", "EmbeddedPostgres"]
