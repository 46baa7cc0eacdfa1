"""TEMPORARY, until branch stats has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from .win_rate import win_rate


@dataclass(frozen=True)
class Slice:
    category: str
    rate: float
    low: float
    high: float
    p: float
    significantly_worse: bool


def slices(outcomes: Mapping[str, Sequence[tuple[int, float]]], confidence: float = 0.95) -> list[Slice]:
    found = []
    for category, rows in sorted(outcomes.items()):
        rate = win_rate(rows, confidence)
        p = stats.binomtest(rate.losses, max(rate.wins + rate.losses, 1)).pvalue
        found.append(
            Slice(category, rate.rate, rate.low, rate.high, p, bool(rate.rate < 0.5 and p < 0.05 / len(outcomes)))
        )
    return found
