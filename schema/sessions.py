"""The settings of every session that the product opens with a database, whatever the server's, the database's, the
role's or the address's own defaults are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SESSION_SETTINGS: Final[Mapping[str, str]] = {
    # PostgreSQL writes times into JSON in the session's zone: 9999-12-31T23:59:59Z is the year 10000 in Berlin, and
    # 1889 has offsets with seconds there; neither can be read back.
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "iso_8601",
    # Fewer digits would change numbers on their way through JSON.
    "extra_float_digits": "1",
    # Rounds and projectors rely on each statement seeing what others have committed.
    "default_transaction_isolation": "read committed",
    "search_path": "public",
}
"""Sent when a session starts, so they overrule `alter database` and `alter role`. The driver sets the encoding, UTF-8.

Rows that earlier releases wrote need no change: their times are instants in the tables, and UTC in JSON columns.
"""
