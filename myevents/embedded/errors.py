"""What goes wrong with the embedded server."""

from __future__ import annotations

from myevents.errors import MyEventsError


class EmbeddedError(MyEventsError):
    """The embedded server did not start; the message says why, or names its log."""
