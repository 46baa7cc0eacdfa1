"""Standings: how versions stand to each other by one judge, and what they were measured to be like.

From plain values: the reports of comparisons (pipeline/compare.py), oldest first, and people's votes. Judges are kept
apart throughout: what one says is never added to what another says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import bradley_terry
from .bradley_terry import BradleyTerry
from .sequential import Sequential, confidence_sequence

PEOPLE = "people"  # the judge's name; in reports it stands for the votes of that day, and the store has today's
CONFIDENCE = 0.95


class Vote(Protocol):
    """What one annotator said about the answers of two versions to one prompt."""

    @property
    def prompt_id(self) -> int: ...
    @property
    def outcome(self) -> float: ...  # of the first version: 1 won, 0.5 tied, 0 lost
    @property
    def judges(self) -> int: ...  # votes that the prompt is owed


Votes = Mapping[tuple[str, str], Sequence[Vote]]  # by pair of versions, in the order in which they were given


@dataclass(frozen=True)
class Match:
    """One version against another, by one judge."""

    a: str
    b: str
    rate: float  # of a; a tie counts half
    low: float
    high: float
    wins: float  # of a, a tie counting half, of so many comparisons
    comparisons: int
    prompts: int
    taught: tuple[str, ...] = ()  # those of the two that this judge taught: it is biased towards them

    def turned(self) -> Match:
        """The same, of b against a."""
        rates = 1 - self.rate, 1 - self.high, 1 - self.low
        return Match(self.b, self.a, *rates, self.comparisons - self.wins, self.comparisons, self.prompts, self.taught)


@dataclass(frozen=True)
class Line:
    """A version among those that were compared with each other, directly or through others."""

    version: str
    rank: int  # 1 is the best; equal scores share it
    best_rank: int
    worst_rank: int
    score: float  # Bradley–Terry, nats of log odds, mean 0 over the lines
    low: float
    high: float
    over_base: Match | None  # as it was measured
    opponents: int  # versions that it was compared with


@dataclass(frozen=True)
class Standings:
    """By one judge."""

    lines: list[Line]  # best first
    apart: list[str]  # versions compared with none of these, even through others: they have no common scale
    imagined: bool  # some won all their comparisons: each was given one imaginary tie, or no scores would be likeliest
    confidence: float  # of the intervals


@dataclass(frozen=True)
class Judged:
    """What one judge says."""

    matches: list[Match]
    standings: Standings
    agreement: Mapping[str, Any] | None  # with people, as the newest report has it (JudgeAgreement); None: not known


def judged(reports: Sequence[Mapping[str, Any]], votes: Votes, bases: Collection[str]) -> dict[str, Judged]:
    """By judge, people first, if anybody has voted. The confidence is that of the newest report."""
    confidence = reports[-1]["confidence"] if reports else CONFIDENCE
    agreement = {
        judge: rate["agreement"]
        for report in reports
        for judge, rate in report["judges"].items()
        if rate.get("agreement") is not None
    }
    return {
        judge: Judged(
            matches,
            standings(matches, bases, votes if judge == PEOPLE else None, confidence),
            agreement.get(judge),
        )
        for judge, matches in by_judge(reports, votes, confidence).items()
    }


def by_judge(
    reports: Iterable[Mapping[str, Any]], votes: Votes, confidence: float = CONFIDENCE
) -> dict[str, list[Match]]:
    """Of every judge the newest comparison of every two versions."""
    found: dict[str, dict[frozenset[str], Match]] = {}
    if votes:
        found[PEOPLE] = {frozenset(pair): _voted(*pair, given, confidence) for pair, given in votes.items()}
    for report in reports:
        for judge, rate in report["judges"].items():
            if judge != PEOPLE:
                pair = frozenset((report["a"], report["b"]))
                found.setdefault(judge, {})[pair] = _reported(report["a"], report["b"], rate)
    return {judge: list(matches.values()) for judge, matches in found.items()}


def standings(
    matches: Sequence[Match], bases: Collection[str], votes: Votes | None = None, confidence: float = CONFIDENCE
) -> Standings:
    """The versions by a Bradley–Terry model of one judge's matches; with people's votes, intervals know of prompts.

    Of several groups that were never compared with each other the one with a base is ranked, or else the largest.
    """
    names = sorted({name for match in matches for name in (match.a, match.b)})
    if not names:
        return Standings([], [], False, confidence)
    groups = [[names[number] for number in group] for group in bradley_terry.groups(_wins(matches, names))]
    ranked = max(groups, key=lambda group: (bool(set(group) & set(bases)), len(group)))
    fitted = _fit_votes(votes, ranked, confidence) if votes else bradley_terry.fit(_wins(matches, ranked), confidence)
    lines = [
        Line(
            version=name,
            rank=int(fitted.rank_V[number]),
            best_rank=int(fitted.best_rank_V[number]),
            worst_rank=int(fitted.worst_rank_V[number]),
            score=float(fitted.score_V[number]),
            low=float(fitted.low_V[number]),
            high=float(fitted.high_V[number]),
            over_base=next((found for base in bases if (found := between(matches, name, base))), None),
            opponents=sum(name in (match.a, match.b) for match in matches),
        )
        for number, name in enumerate(ranked)
    ]
    apart = [name for name in names if name not in ranked]
    return Standings(sorted(lines, key=lambda line: line.rank), apart, fitted.imagined, confidence)


def between(matches: Iterable[Match], a: str, b: str) -> Match | None:
    """The match of these two, from the side of `a`."""
    for match in matches:
        if (match.a, match.b) == (a, b):
            return match
        if (match.a, match.b) == (b, a):
            return match.turned()
    return None


def so_far(votes: Sequence[Vote], confidence: float = CONFIDENCE) -> Sequential:
    """What votes on two versions say at this moment: an interval that may be looked at after each of them."""
    owed = max((vote.judges for vote in votes), default=1)
    return confidence_sequence([(vote.prompt_id, vote.outcome) for vote in votes], confidence, owed)


def measured(reports: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """What the newest report says of each version: `mean_tokens`, `ended`, `kl_to_base` and whatever else it has."""
    found: dict[str, dict[str, float]] = {}
    for report in reports:
        found |= report["versions"]
    return found


def _voted(a: str, b: str, votes: Sequence[Vote], confidence: float) -> Match:
    now, won = so_far(votes, confidence), sum(vote.outcome for vote in votes)
    return Match(a, b, now.rate, now.low, now.high, won, len(votes), len({vote.prompt_id for vote in votes}))


def _reported(a: str, b: str, rate: Mapping[str, Any]) -> Match:
    return Match(
        a,
        b,
        **{name: rate[name] for name in ("rate", "low", "high", "comparisons", "prompts")},
        wins=rate["wins"] + rate["ties"] / 2,
        taught=tuple(rate.get("optimised", ())),
    )


def _wins(matches: Iterable[Match], names: Sequence[str]) -> NDArray[np.float64]:
    """wins_VV[i, j]: of version i over j, a tie counting half to each."""
    place = {name: number for number, name in enumerate(names)}
    wins_VV = np.zeros((len(names), len(names)))
    for match in matches:
        if match.a in place and match.b in place:
            wins_VV[place[match.a], place[match.b]] += match.wins
            wins_VV[place[match.b], place[match.a]] += match.comparisons - match.wins
    return wins_VV


def _fit_votes(votes: Votes, names: Sequence[str], confidence: float) -> BradleyTerry:
    place = {name: number for number, name in enumerate(names)}
    rows = [
        (vote.prompt_id, place[a], place[b], vote.outcome)
        for (a, b), given in votes.items()
        if a in place and b in place
        for vote in given
    ]
    prompt_N, first_N, second_N, outcome_N = (np.array(column) for column in zip(*rows, strict=True))
    return bradley_terry.fit_votes(prompt_N, first_N, second_N, outcome_N, len(names), confidence)
