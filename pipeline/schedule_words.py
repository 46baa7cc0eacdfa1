"""When a schedule starts, in words: on the command line and on the screen."""

from __future__ import annotations

from croniter import croniter

from db.schedules import When
from db.tables import Schedule

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_MOST_TIMES = 6  # of a day, said one by one
Field = list[int]  # empty: every one


def when(of: When | Schedule) -> str:
    """What starts it."""
    asked = [
        *([f"{of.new_pairs} new agreed pairs"] if of.new_pairs is not None else []),
        *(["a reward model older than its data"] if of.reward_older else []),
        *(["a stale version"] if of.stale else []),
    ]
    triggers = " or ".join(asked)
    if of.cron is None:
        return f"on {triggers}"
    return f"{cron(of.cron)} ({of.timezone})" + (f", on {triggers}" if triggers else "")


def cron(expression: str) -> str:
    """The due times of a valid expression; the expression itself where words would be longer than that is clear."""
    expanded, by_number = croniter.expand(expression)
    if by_number or not all(isinstance(each, int) or each == "*" for field in expanded for each in field):
        return f"by cron {expression}"  # the last Friday of a month, and the like
    minutes, hours, days, months, weekdays = ([] if "*" in field else field for field in expanded)
    times = _times(minutes, hours)
    if times is None:
        return f"by cron {expression}"
    on = _dates(days, months, sorted(weekdays))
    if times.startswith("at "):
        return f"{on or 'every day'} {times}"
    return f"{times}, {on}" if on else times


def _times(minutes: Field, hours: Field) -> str | None:
    """At which times of a day; None where that is not said in a few words."""
    if hours:
        shown = [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]
        if 0 < len(shown) <= _MOST_TIMES:
            return f"at {_joined(shown)}"
        in_a_row = len(minutes) == 1 and hours == list(range(hours[0], hours[-1] + 1))
        return f"every hour from {shown[0]} to {shown[-1]}" if in_a_row else None
    if not minutes:
        return "every minute"
    if len(minutes) == 1:
        return f"every hour at :{minutes[0]:02}"
    step = minutes[1] - minutes[0]
    return f"every {step} minutes" if minutes == list(range(0, 60, step)) and not 60 % step else None


def _dates(days: Field, months: Field, weekdays: Field) -> str:
    """On which days; empty for all of them. Where day and weekday are both named, either will do (cron's rule)."""
    named = [
        *([f"on day{'s' if len(days) > 1 else ''} {_joined([str(day) for day in days])} of the month"] if days else []),
        *([_weekdays(weekdays)] if weekdays else []),
    ]
    inside = f"in {_joined([_MONTHS[month - 1] for month in months])}" if months else ""
    return " ".join(filter(None, [" or ".join(named) or ("every day" if inside else ""), inside]))


def _weekdays(weekdays: Field) -> str:
    run = len(weekdays) > 2 and weekdays == list(range(weekdays[0], weekdays[-1] + 1))
    names = [_DAYS[day] for day in weekdays]
    return f"{names[0]} to {names[-1]}" if run else f"on {_joined(names)}"


def _joined(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
