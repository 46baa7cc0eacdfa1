"""Standings: how versions stand to each other by one judge, and what they were measured to be like.

From plain values: the reports of comparisons (pipeline/compare.py), oldest first, and people's votes. Judges are kept
apart throughout: what one says is never added to what another says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from . import bradley_terry
from .sequential import confidence_sequence

PEOPLE = "people"  # the judge's name; in reports it stands for the votes of that day, and the store has today's
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Match:
    """One version against another, by one judge."""

    a: str
    b: str
    rate: float  # of a; a tie counts half
    low: float
    high: float
    comparisons: int
    prompts: int
    taught: tuple[str, ...] = ()  # those of the two that this judge taught: it is biased towards them

    @property
    def wins(self) -> float:
        return self.rate * self.comparisons

    def turned(self) -> Match:
        """The same, of b against a."""
        return Match(
            self.b, self.a, 1 - self.rate, 1 - self.high, 1 - self.low, self.comparisons, self.prompts, self.taught
        )


@dataclass(frozen=True)
class Line:
    """A version among those that were compared with each other, directly or through others."""

    version: str
    rank: int  # 1 is the best
    best: int  # rank; and the worst, that the intervals allow
    worst: int
    score: float  # Bradley–Terry, natural logarithm of the odds; see `standings`
    low: float
    high: float
    over_base: Match | None  # as it was measured
    matches: int  # with other versions


def by_judge(
    reports: Iterable[Mapping[str, Any]], votes: Mapping[tuple[str, str], Sequence[tuple[int, float]]]
) -> dict[str, list[Match]]:
    """Of every judge the newest comparison of every two versions; people come first, if anybody has voted.

    The interval of people's votes is anytime-valid, for it is looked at while they vote.
    """
    found: dict[str, dict[frozenset[str], Match]] = {}
    if votes:
        found[PEOPLE] = {frozenset(pair): _voted(*pair, outcomes) for pair, outcomes in votes.items()}
    for report in reports:
        for judge, rate in report["judges"].items():
            if judge == PEOPLE:
                continue
            figures = {name: rate[name] for name in ("rate", "low", "high", "comparisons", "prompts")}
            match = Match(report["a"], report["b"], **figures, taught=tuple(rate.get("optimised", ())))
            found.setdefault(judge, {})[frozenset((match.a, match.b))] = match
    return {judge: list(matches.values()) for judge, matches in found.items()}


def standings(matches: Sequence[Match], bases: Collection[str]) -> list[Line]:
    """The versions, best first, by a Bradley–Terry model of one judge's matches. A base, if it is among them, scores 0.

    Of several groups that were never compared with each other only the one with a base has a common scale with it, and
    is ranked; where none has, the largest.
    """
    names = _ranked(matches, bases)
    if not names:
        return []
    fitted = bradley_terry.fit(wins(matches, names), CONFIDENCE)
    base = next((number for number, name in enumerate(names) if name in bases), None)
    zero = 0.0 if base is None else float(fitted.scores_V[base])
    lines = [
        Line(
            version=name,
            rank=int(fitted.rank_V[number]),
            best=int(fitted.best_V[number]),
            worst=int(fitted.worst_V[number]),
            score=float(fitted.scores_V[number]) - zero,
            low=float(fitted.low_V[number]) - zero,
            high=float(fitted.high_V[number]) - zero,
            over_base=next((found for other in bases if (found := between(matches, name, other))), None),
            matches=sum(name in (match.a, match.b) for match in matches),
        )
        for number, name in enumerate(names)
    ]
    return sorted(lines, key=lambda line: line.rank)


def between(matches: Iterable[Match], a: str, b: str) -> Match | None:
    """The match of these two, from the side of `a`."""
    for match in matches:
        if (match.a, match.b) == (a, b):
            return match
        if (match.a, match.b) == (b, a):
            return match.turned()
    return None


def measured(reports: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """What the newest report says of each version: `mean_tokens`, `ended`, `kl_to_base` and whatever else it has."""
    found: dict[str, dict[str, float]] = {}
    for report in reports:
        found |= report["versions"]
    return found


def _ranked(matches: Sequence[Match], bases: Collection[str]) -> list[str]:
    """The names of the versions that have a common scale."""
    names = sorted({name for match in matches for name in (match.a, match.b)})
    if not names:
        return []
    count, group_V = connected_components(wins(matches, names), directed=False)
    groups = [[name for name, group in zip(names, group_V, strict=True) if group == each] for each in range(count)]
    return max(groups, key=lambda group: (bool(set(group) & set(bases)), len(group)))


def wins(matches: Sequence[Match], names: Sequence[str]) -> NDArray[np.float64]:
    """wins_VV[i, j]: of version i over j, a tie a half to each."""
    place = {name: number for number, name in enumerate(names)}
    wins_VV = np.zeros((len(names), len(names)))
    for match in matches:
        if match.a in place and match.b in place:
            wins_VV[place[match.a], place[match.b]] += match.wins
            wins_VV[place[match.b], place[match.a]] += match.comparisons - match.wins
    return wins_VV


def _voted(a: str, b: str, outcomes: Sequence[tuple[int, float]]) -> Match:
    so_far = confidence_sequence(outcomes, CONFIDENCE)
    return Match(a, b, so_far.rate, so_far.low, so_far.high, so_far.votes, so_far.prompts)
