"""How many judgments a comparison by people takes, and how long they would need."""

from __future__ import annotations

from dataclasses import dataclass

from db.activity import Speed

from .stats.power import votes_to_detect

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
    """Judgments to detect a win rate, had they all to be given before anybody looks, and the minutes for them."""

    rate: float
    confidence: float
    power: float
    ties: float
    judgments: int
    prompts: int  # held out, in use
    judges: int | None  # for each prompt, so that there are as many pairs; None without prompts
    pace: Pace | None  # None: no pace yet
    work: float | None  # minutes of one person
    minutes: float | None  # with everybody who is active


def pace(speed: Speed) -> Pace | None:
    """None while fewer than FEWEST answers were measured: that is no pace yet."""
    if speed.median_response_ms is None or speed.measured < FEWEST:
        return None
    return Pace(speed.median_response_ms / 1000, speed.measured, speed.active)


def plan(rate: float, confidence: float, power: float, ties: float, prompts: int, speed: Speed) -> Plan:
    """The plan for a win rate of `rate` (a tie half) where a share `ties` of the votes are ties.

    Votes count as independent ones, which they are with one judge a prompt: with more of them on each prompt it takes
    rather more.
    """
    judgments = votes_to_detect(rate, confidence, power, ties)
    known = pace(speed)
    return Plan(
        rate=rate,
        confidence=confidence,
        power=power,
        ties=ties,
        judgments=judgments,
        prompts=prompts,
        judges=-(-judgments // prompts) if prompts else None,
        pace=known,
        work=known.work(judgments) if known else None,
        minutes=known.minutes(judgments) if known else None,
    )
