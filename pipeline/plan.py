"""How many judgments a comparison by people takes, and how long they would need."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from db.activity import Speed

from .errors import PrefloopError
from .stats.power import NEAREST, Stopping, sequential_votes_to_detect, votes_to_detect

FEWEST = 10  # measured answers; fewer are no pace yet


@dataclass(frozen=True)
class Pace:
    """How fast people answer pairs at present."""

    seconds: float  # for one answer, the median
    measured: int  # answers that it is the median of
    annotators: int  # people who answered anything lately

    def work(self, judgments: int) -> float:
        """Minutes that they take one person."""
        return judgments * self.seconds / 60

    def minutes(self, judgments: int) -> float | None:
        """Minutes until they are given, if all who are active answer side by side; None when nobody is."""
        return self.work(judgments) / self.annotators if self.annotators else None


@dataclass(frozen=True)
class Plan:
    """Judgments to detect a win rate, and how fast they are given.

    `judgments` is for a comparison of fixed size that is looked at once, at its end; `stopping` for one that is looked
    at after every vote and ends at its verdict, which is what `compare --by people` does.
    """

    rate: float
    confidence: float
    power: float
    ties: float
    judgments: int
    stopping: Stopping | None  # None: too near to one half to be planned for vote by vote
    prompts: int  # held out, in use
    judges: int | None  # for each prompt, so that there are as many judgments; None without prompts
    pace: Pace | None  # None: no pace yet
    work: float | None  # minutes that `judgments` take one person
    minutes: float | None  # and with everybody who is active


def pace(speed: Speed) -> Pace | None:
    """None while fewer than FEWEST answers were measured: that is no pace yet."""
    if speed.median_response_ms is None or speed.measured < FEWEST:
        return None
    return Pace(speed.median_response_ms / 1000, speed.measured, speed.active)


def plan(rate: float, confidence: float, power: float, ties: float, prompts: int, speed: Speed) -> Plan:
    """The plan for a win rate of `rate` (a tie half) where a share `ties` of the votes are ties.

    Votes count as independent ones, which they are with one judge a prompt: with more of them on each prompt it takes
    rather more. Raises PrefloopError for rates and shares that cannot be.
    """
    try:
        judgments = votes_to_detect(rate, confidence, power, ties)
        near = abs(rate - 0.5) < NEAREST
        stopping = None if near else sequential_votes_to_detect(rate, confidence, power, ties)
    except ValueError as error:
        raise PrefloopError(str(error)) from None
    known = pace(speed)
    return Plan(
        rate=rate,
        confidence=confidence,
        power=power,
        ties=ties,
        judgments=judgments,
        stopping=stopping,
        prompts=prompts,
        judges=ceil(judgments / prompts) if prompts else None,
        pace=known,
        work=known.work(judgments) if known else None,
        minutes=known.minutes(judgments) if known else None,
    )
