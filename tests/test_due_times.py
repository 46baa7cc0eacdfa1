"""Due times of a schedule, and what becomes of them where the clock is changed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.due_times import check, newest_due, next_due, zone
from pipeline.errors import PrefloopError

BERLIN = zone("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due_between(cron: str, first: str, last: str, timezone: str = "Europe/Berlin") -> list[str]:
    """Readings of the local clock at every due moment, by asking for the next one again and again."""
    where, now, found = zone(timezone), at(first), []
    while (now := next_due(cron, where, now)) <= at(last):
        found.append(now.astimezone(where).strftime("%d %H:%M %Z"))
    return found


def test_a_skipped_time_is_due_at_the_change_and_only_that_day() -> None:
    assert due_between("30 2 * * *", "2026-03-27T12:00", "2026-03-30T12:00") == [
        "28 02:30 CET",
        "29 03:00 CEST",
        "30 02:30 CEST",
    ]
    assert newest_due("30 2 * * *", BERLIN, at("2026-03-29T00:59")) == at("2026-03-28T01:30")
    assert newest_due("30 2 * * *", BERLIN, at("2026-03-29T01:00")) == at("2026-03-29T01:00")


def test_a_time_that_is_shown_twice_is_due_once() -> None:
    assert due_between("30 2 * * *", "2026-10-24T12:00", "2026-10-26T12:00") == ["25 02:30 CEST", "26 02:30 CET"]
    first = at("2026-10-25T00:30")
    for later in ("2026-10-25T00:30", "2026-10-25T01:15", "2026-10-25T01:30", "2026-10-25T01:45"):
        assert newest_due("30 2 * * *", BERLIN, at(later)) == first


def test_a_frequent_schedule_pauses_while_the_clock_repeats_itself() -> None:
    assert due_between("*/30 * * * *", "2026-10-25T00:00", "2026-10-25T02:00") == ["25 02:30 CEST", "25 03:00 CET"]
    # The skipped hour's two times are due at the change, together with the one that is there.
    assert due_between("*/30 * * * *", "2026-03-29T00:30", "2026-03-29T01:30") == ["29 03:00 CEST", "29 03:30 CEST"]


@given(
    st.sampled_from(["30 2 * * *", "*/20 * * * *", "0 2,3 * * *", "15 1 * * 0", "59 23 28-31 * *"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
)
def test_what_is_due_next_is_the_newest_due_from_then_on(cron: str, timezone: str, naive: datetime) -> None:
    now, where = naive.replace(tzinfo=UTC), zone(timezone)
    coming = next_due(cron, where, now)
    assert coming > now
    assert newest_due(cron, where, coming) == coming
    assert newest_due(cron, where, coming - timedelta(seconds=1)) == newest_due(cron, where, now) <= now


@pytest.mark.parametrize(
    ("cron", "timezone", "words"),
    [
        ("0 3 * *", "UTC", "no cron expression"),
        ("0 3 * * * *", "UTC", "no cron expression"),
        ("61 3 * * *", "UTC", "no cron expression"),
        ("0 0 31 2 *", "UTC", "never comes"),
        ("0 3 * * *", "Mars/Base", "time zone 'Mars/Base' is not known"),
        ("0 3 * * *", "../etc", "time zone"),
    ],
)
def test_what_cannot_be_due_is_refused(cron: str, timezone: str, words: str) -> None:
    with pytest.raises(PrefloopError, match=words):
        check(cron, timezone)
