"""The pace of labeling, and when it will be done."""

from datetime import UTC, datetime, timedelta

import pytest

from db.activity import Slot
from labeling_ui import pace

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def slots(*minutes: int, judgments: int = 10) -> list[Slot]:
    return [Slot(NOW - timedelta(minutes=ago), judgments) for ago in sorted(minutes, reverse=True)]


def test_there_is_no_pace_before_half_an_hour_of_labeling() -> None:
    assert pace.pace([], 100, NOW) is None
    assert pace.pace(slots(20, 10), 100, NOW) is None
    assert pace.pace(slots(20, 10, 5), 100, NOW) is None  # the last slot is not over


def test_the_pace_is_that_of_the_hours_in_which_somebody_labeled() -> None:
    found = pace.pace(slots(300, 290, 20, 10), 120, NOW)
    assert found is not None
    assert found.per_hour == pytest.approx(60)
    assert found.hours_left == pytest.approx(2)
    assert found.finish is None  # nobody knows yet how many hours a day they label


def test_the_finish_reckons_with_the_hours_a_day_of_late() -> None:
    two_days_ago = [2 * 24 * 60 + minutes for minutes in (0, -10, -20, -30, -40, -50)]
    found = pace.pace(slots(*two_days_ago), 30, NOW)
    assert found is not None
    assert found.per_hour == pytest.approx(60)
    assert found.finish == NOW + timedelta(days=1)  # one hour in two days, and half an hour is left
