"""The errors callers can act on. They become HTTP and GraphQL answers only at the edge."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Why a command was refused; the names are promised in `schema/command.graphql`."""

    INVALID_INPUT = "INVALID_INPUT"
    NOT_FOUND = "NOT_FOUND"
    NOT_SIGNED_IN = "NOT_SIGNED_IN"
    FORBIDDEN = "FORBIDDEN"
    CONFLICT = "CONFLICT"
    VERSION_MISMATCH = "VERSION_MISMATCH"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    SOLD_OUT = "SOLD_OUT"
    TOO_MANY_SEATS = "TOO_MANY_SEATS"
    SALES_CLOSED = "SALES_CLOSED"
    EVENT_NOT_PUBLISHED = "EVENT_NOT_PUBLISHED"
    EVENT_CANCELLED = "EVENT_CANCELLED"
    ALREADY_BOOKED = "ALREADY_BOOKED"
    HALL_TAKEN = "HALL_TAKEN"
    CAPACITY_BELOW_BOOKED = "CAPACITY_BELOW_BOOKED"
    OVERLOADED = "OVERLOADED"


class MyEventsError(Exception):
    """The root of all errors that are ours."""


class Refused(MyEventsError):
    """A command that cannot be: nothing was recorded. `path` names the place in the input."""

    def __init__(
        self, code: ErrorCode, message: str, path: tuple[str, ...] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.retry_after = retry_after


class SettingsError(MyEventsError):
    """A setting that cannot be used; the message names it and says what it takes."""


class NotMigrated(MyEventsError):
    """A database lacks migrations or read models, and the login may not make them: its owner must run `migrate`."""


class StoreUnavailable(MyEventsError):
    """The database did not answer in time; the command may be sent again with the same Idempotency-Key."""


class KafkaUnreachable(MyEventsError):
    """Kafka did not answer in time; what was asked of it may be asked again."""
