"""Win rates by category of prompt, with a correction for looking at many of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from .win_rate import clustered_error, win_rate


@dataclass(frozen=True)
class Slice:
    """One category. The interval is for itself alone; `p` and what follows from it hold for all categories together.

    So an interval may leave one half and the difference not be significant, where many categories were looked at.
    """

    category: str
    rate: float
    low: float
    high: float
    prompts: int
    comparisons: int
    p: float  # two-sided, against one half, after Holm's correction
    significantly_worse: bool
    significantly_better: bool


def slices(outcomes_by_category: Mapping[str, Sequence[tuple[int, float]]], confidence: float = 0.95) -> list[Slice]:
    """The categories by name, from (prompt, outcome) pairs as `win_rate` takes them.

    With probability `confidence` no category is called significant that is not, however many there are (Holm 1979,
    "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6). Each test is that
    of the interval of `win_rate`. ValueError for a category without comparisons.
    """
    rates = {category: win_rate(outcomes, confidence) for category, outcomes in sorted(outcomes_by_category.items())}
    p_S = holm(np.array([_p(outcomes_by_category[category]) for category in rates]))
    return [
        Slice(
            category=category,
            rate=rate.rate,
            low=rate.low,
            high=rate.high,
            prompts=rate.prompts,
            comparisons=rate.comparisons,
            p=float(p),
            significantly_worse=bool(p <= 1 - confidence and rate.rate < 0.5),
            significantly_better=bool(p <= 1 - confidence and rate.rate > 0.5),
        )
        for (category, rate), p in zip(rates.items(), p_S, strict=True)
    ]


def holm(p_S: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusted p values: the smallest times their number, the next times one less, none below one before it."""
    order = np.argsort(p_S)
    stepped = np.maximum.accumulate(p_S[order] * np.arange(len(p_S), 0, -1))
    adjusted_S = np.empty(len(p_S))
    adjusted_S[order] = np.minimum(stepped, 1)
    return adjusted_S


def _p(outcomes: Sequence[tuple[int, float]]) -> float:
    prompts, values = (np.array(column) for column in zip(*outcomes, strict=True))
    _, prompt_N = np.unique(prompts, return_inverse=True)
    centre, error, freedom = clustered_error(np.bincount(prompt_N, weights=values), np.bincount(prompt_N))
    return float(2 * stdtr(freedom, -abs(centre - 0.5) / error))
