"""What people's votes come to, in words and tables for a terminal of 80 columns."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from db.evaluations import Asked

from .ask_people import Standing
from .plan import FEWEST, Pace, Plan

COLOURS = {"better": "green", "worse": "red", "undecided": "yellow"}


def of_asked(asked: Asked, queue: str) -> str:
    parts = [f"{asked.asked} pairs put into the queue {queue}"]
    if asked.identical:
        parts.append(f"{asked.identical} of equal texts are ties without asking")
    if asked.known:
        parts.append(f"{asked.known} were there already")
    if asked.changed:
        parts.append(f"{asked.changed} of them want another number of judges now")
    if asked.replaced:
        parts.append(f"{asked.replaced} about answers drawn with other settings are not asked any more")
    return "; ".join(parts)


def of_standing(standing: Standing) -> RenderableType:
    """The figures, the verdict, and what is still to come."""
    title = f"{standing.a} against {standing.b} by {'people' if standing.annotators == 'human' else 'simulated people'}"
    found = standing.evidence
    if found is None:
        return Group(f"{title}: no vote yet", _to_come(standing))
    table = Table("votes", "wins", "ties", "losses", "win rate", f"{standing.confidence:.0%} interval")
    table.add_row(
        *(str(found[key]) for key in ("votes", "wins", "ties", "losses")),
        f"{found['rate']:.1%}",
        f"{found['low']:.1%} to {found['high']:.1%}",
    )
    aside = (
        f"{found['annotators']} annotators, {found['prompts']} prompts; of the ties {found['both_bad']} are both bad "
        f"and {found['identical']} equal texts that nobody was asked about; the interval holds at every look"
    )
    verdict = found["verdict"] if found["verdict"] == "undecided" else f"{standing.a} is {found['verdict']}"
    return Group(Text(title), table, Text(aside, "dim"), Text(verdict, COLOURS[found["verdict"]]), _to_come(standing))


def of_plan(plan: Plan, measured: int) -> RenderableType:
    """How many judgments, how long they take, and on what that rests; `measured` answers were timed so far."""
    title = f"to detect a win rate of {plan.rate:.1%} with {plan.power:.0%} power, at {plan.confidence:.0%} confidence"
    table = Table("looked at", "judgments", "one person")
    if plan.pace is not None:
        table.add_column(f"the {plan.pace.annotators} who are active")
    counts = {"once, at the end": plan.judgments}
    if plan.stopping is not None:
        counts["after every vote, on average"] = round(plan.stopping.mean)
        counts[f"after every vote, in {plan.power:.0%} at most"] = plan.stopping.votes
    for looked, judgments in counts.items():
        together = plan.pace.minutes(judgments) if plan.pace else None
        table.add_row(
            looked,
            str(judgments),
            duration(plan.pace.work(judgments)) if plan.pace else "–",
            *([] if plan.pace is None else ["–" if together is None else duration(together)]),
        )
    pace = (
        f"no pace yet: {measured} answers to pairs were timed, and {FEWEST} are the fewest"
        if plan.pace is None
        else f"at {_seconds(plan.pace)}; active is who answered anything in the last 7 days"
    )
    prompts = (
        "there are no held-out prompts; import some with `prefloop prompts import`"
        if plan.judges is None
        else f"on {plan.prompts} held-out prompts {plan.judgments} judgments are {plan.judges} for each"
    )
    return Group(Text(title), table, Text(pace), Text(prompts))


def duration(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _to_come(standing: Standing) -> str:
    owed = f"{standing.owed} judgments are owed"
    if standing.decided:
        return f"asking has ended; {standing.saved} judgments are saved" if standing.saved else owed
    more = standing.evidence["more"] if standing.evidence else None
    if more is None:
        return f"{owed}; how many it takes cannot be said yet"
    expected = f"about {more} more votes would decide if they fall as so far; {owed}"
    if more > standing.owed:
        expected += "; that takes more held-out prompts"
    if standing.pace is None:
        return f"{expected}; no pace yet"
    return f"{expected}; at {_seconds(standing.pace)}, {_together(standing.pace, standing.minutes)}"


def _seconds(pace: Pace) -> str:
    return f"{pace.seconds:.0f} s an answer (median of {pace.measured})"


def _together(pace: Pace, minutes: float | None) -> str:
    if minutes is None:
        return "nobody answered anything in the last 7 days"
    return f"{duration(minutes)} with the {pace.annotators} people of the last 7 days"
