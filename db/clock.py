"""The one clock of the store: leases, timestamps and their tests all read it."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current moment, timezone-aware, in UTC."""
    return datetime.now(UTC)
