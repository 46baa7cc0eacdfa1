"""How far annotators agree: Krippendorff's alpha, plain agreement, and shares, each with its interval and its n.

What is not here: agreement on written answers (edit, demonstration), which needs a reader.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .win_rate import win_rate

Floats = NDArray[np.float64]
Units = dict[tuple[int, Hashable], dict[int, str | int]]  # the value that each annotator gave, by (comparison, part)


@dataclass(frozen=True, slots=True)
class Vote:
    """What one annotator said about one comparison, as a value that can be equal to another's.

    The value must not depend on the display order: which candidate, never which side. A judgment that says several
    things (a ranking, ratings by aspect) is several votes, told apart by `part`.
    """

    comparison: int
    annotator: int
    value: str | int
    part: Hashable = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with a two-sided confidence interval, from `n` independent things (see the function)."""

    value: float
    low: float
    high: float
    n: int


def krippendorff_alpha(
    votes: Iterable[Vote],
    level: Literal["nominal", "ordinal"] = "nominal",
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate | None:
    """Agreement beyond chance: 1 is perfect, 0 is what chance gives, below 0 is worse. `n` counts comparisons.

    None when it is not defined: nothing was judged by two, or everybody always said the same one thing. ValueError
    when somebody judged a thing twice.

    The interval is a Bayesian bootstrap (Rubin 1981) over comparisons, `draws` of them from `seed`, so that several
    votes on one comparison are not taken for independent evidence. Half an imaginary comparison that agrees and half
    a one that does not are added to the draws (as Jeffreys does to a proportion), so that agreement in 10 of 10 does
    not give an interval of width zero. Alpha itself is the plain one.
    """
    # Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section D. Axes: Units, Comparisons, K values.
    units = {unit: values for unit, values in _units(votes).items() if len(values) > 1}
    domain = sorted({value for values in units.values() for value in values.values()})
    if len(domain) < 2:
        return None
    coincidences_C_K_K = _coincidences(units, domain)
    total_K_K = coincidences_C_K_K.sum(axis=0)

    # Comparisons with the same coincidences share their weight: the draws cost the same for ten and for a million.
    kinds, sizes = np.unique(coincidences_C_K_K.reshape(len(coincidences_C_K_K), -1), axis=0, return_counts=True)
    rows = np.vstack([kinds, _imaginary(total_K_K / len(coincidences_C_K_K))])
    weights = np.random.default_rng(seed).dirichlet([*sizes, 0.5, 0.5], size=draws) * (sizes.sum() + 1)
    drawn = _alpha((weights @ rows).reshape(draws, len(domain), len(domain)), level)
    alpha = float(_alpha(total_K_K[None], level)[0])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(alpha, min(float(low), alpha), max(float(high), alpha), len(coincidences_C_K_K))


def plain_agreement(votes: Iterable[Vote], confidence: float = 0.95) -> Estimate | None:
    """Of all pairs of votes on the same thing by two annotators, the share that is equal. `n` counts comparisons.

    None without any such pair. The interval is that of `win_rate`, comparisons being the clusters.
    """
    same = [
        (comparison, float(one == other))
        for (comparison, _), values in _units(votes).items()
        for one, other in combinations(values.values(), 2)
    ]
    return _share(same, confidence)


def agreement_with_others(votes: Iterable[Vote], confidence: float = 0.95) -> dict[int, Estimate]:
    """By annotator: of all pairs of their vote and another's on the same thing, the share that is equal.

    Who shares nothing with anybody is left out. `n` and interval as in `plain_agreement`.
    """
    same_of: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for (comparison, _), values in _units(votes).items():
        for (one, one_value), (other, other_value) in combinations(values.items(), 2):
            same = comparison, float(one_value == other_value)
            same_of[one].append(same)
            same_of[other].append(same)
    shares = {annotator: _share(same, confidence) for annotator, same in same_of.items()}
    return {annotator: share for annotator, share in shares.items() if share is not None}


def proportion(successes: int, n: int, confidence: float = 0.95) -> Estimate | None:
    """The share of successes with its Wilson interval, for trials that do not depend on each other. None for n = 0.

    ValueError for more successes than trials.
    """
    if n == 0 and successes == 0:
        return None
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    interval = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def _units(votes: Iterable[Vote]) -> Units:
    units: Units = defaultdict(dict)
    for vote in votes:
        unit = units[vote.comparison, vote.part]
        if vote.annotator in unit:
            raise ValueError(f"annotator {vote.annotator} judged comparison {vote.comparison} twice; take the newest")
        unit[vote.annotator] = vote.value
    return units


def _coincidences(units: Units, domain: Sequence[str | int]) -> Floats:
    """Of every comparison: how often each two values were given to the same thing, weighted as Krippendorff says."""
    place = {value: number for number, value in enumerate(domain)}
    counts_U_K = np.zeros((len(units), len(domain)))
    given = [(unit, place[value]) for unit, values in enumerate(units.values()) for value in values.values()]
    np.add.at(counts_U_K, tuple(np.array(given).T), 1)
    pairs_U_K_K = counts_U_K[:, :, None] * counts_U_K[:, None, :] - counts_U_K[:, :, None] * np.eye(len(domain))
    pairs_U_K_K /= counts_U_K.sum(axis=1)[:, None, None] - 1
    comparisons, comparison_U = np.unique([comparison for comparison, _ in units], return_inverse=True)
    coincidences_C_K_K = np.zeros((len(comparisons), len(domain), len(domain)))
    np.add.at(coincidences_C_K_K, comparison_U, pairs_U_K_K)
    return coincidences_C_K_K


def _share(same: Sequence[tuple[int, float]], confidence: float) -> Estimate | None:
    # Two who agree "win" against two who do not: the arithmetic of a win rate, clusters included.
    if not same:
        return None
    rate = win_rate(same, confidence)
    return Estimate(rate.rate, min(rate.low, rate.rate), max(rate.high, rate.rate), rate.prompts)


def _alpha(coincidences_B_K_K: Floats, level: str) -> Floats:
    """Alpha of each of B coincidence matrices; 1 where only one value is left, and nobody can disagree."""
    of_value_B_K = coincidences_B_K_K.sum(axis=2)
    n_B = of_value_B_K.sum(axis=1)
    distance_B_K_K = _distance(of_value_B_K, level)
    observed_B = (coincidences_B_K_K * distance_B_K_K).sum(axis=(1, 2))
    expected_B = (of_value_B_K[:, :, None] * of_value_B_K[:, None, :] * distance_B_K_K).sum(axis=(1, 2)) / (n_B - 1)
    return np.asarray(1 - np.divide(observed_B, expected_B, out=np.zeros_like(observed_B), where=expected_B > 0))


def _distance(of_value_B_K: Floats, level: str) -> Floats:
    """The squared difference of each two values; an ordinal one counts the votes that lie between them."""
    size = of_value_B_K.shape[1]
    if level == "nominal":
        return np.broadcast_to(1 - np.eye(size), (len(of_value_B_K), size, size))
    middle_B_K = np.cumsum(of_value_B_K, axis=1) - of_value_B_K / 2
    return np.asarray((middle_B_K[:, :, None] - middle_B_K[:, None, :]) ** 2)


def _imaginary(mean_K_K: Floats) -> Any:
    """The coincidences of a usual comparison that agrees, and of one that disagrees, as two rows."""
    share_K = mean_K_K.sum(axis=1) / mean_K_K.sum()
    apart_K_K = np.outer(share_K, share_K) * (1 - np.eye(len(share_K)))
    return np.stack([np.diag(share_K).ravel(), (apart_K_K / apart_K_K.sum()).ravel()]) * mean_K_K.sum()
