"""How far annotators agree: Krippendorff's alpha, plain agreement, and shares, each with its interval and its n.

What is not here: agreement on written answers (edit, demonstration), which needs a reader.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from .win_rate import clustered_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Votes:
    """What annotators said about comparisons, as columns; made by `tabled`.

    Axis V: votes. A unit is one thing that is judged, a part of a comparison; units are numbered by comparison.
    """

    comparison_V: Ints
    annotator_V: Ints
    unit_V: Ints
    value_V: Ints  # equal where the values are equal, and in their order

    def where(self, mask_V: NDArray[np.bool_]) -> Votes:
        """Those of the votes that the mask is true of."""
        return Votes(self.comparison_V[mask_V], self.annotator_V[mask_V], self.unit_V[mask_V], self.value_V[mask_V])


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with a two-sided confidence interval, from `n` independent things (see the function)."""

    value: float
    low: float
    high: float
    n: int


def tabled(
    comparisons: Sequence[int],
    annotators: Sequence[int],
    values: Sequence[str | int],
    parts: Sequence[Hashable] | None = None,
) -> Votes:
    """Votes as columns, from one entry a vote in each. ValueError when somebody judged a thing twice.

    A value must not depend on the display order: which candidate, never which side. A judgment that says several
    things (a ranking, ratings by aspect) is several votes, told apart by their parts; numbers are ordered, and stand
    before words.
    """
    parts = [0] * len(comparisons) if parts is None else parts
    place_of_value = {value: n for n, value in enumerate(sorted(set(values), key=lambda v: (isinstance(v, str), v)))}
    place_of_part = {part: n for n, part in enumerate(dict.fromkeys(parts))}
    comparison_V, annotator_V = np.array(comparisons, np.int64), np.array(annotators, np.int64)
    part_V = np.array([place_of_part[part] for part in parts], np.int64)
    _, unit_V = np.unique(comparison_V * len(place_of_part) + part_V, return_inverse=True)
    value_V = np.array([place_of_value[value] for value in values], np.int64)
    _refuse_doubles(comparison_V, annotator_V, unit_V)
    return Votes(comparison_V, annotator_V, unit_V, value_V)


def krippendorff_alpha(
    votes: Votes,
    level: Literal["nominal", "ordinal"] = "nominal",
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate | None:
    """Agreement beyond chance: 1 is perfect, 0 is what chance gives, below 0 is worse. `n` counts comparisons.

    None when it is not defined: nothing was judged by two, or everybody always said the same one thing.

    The interval is a Bayesian bootstrap (Rubin 1981) over comparisons, `draws` of them from `seed`, so that several
    votes on one comparison are not taken for independent evidence. Half an imaginary comparison that agrees and half
    a one that does not are added to the draws (as Jeffreys does to a proportion), so that agreement in 10 of 10 does
    not give an interval of width zero. Alpha itself is the plain one.
    """
    # Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section D. Axes: Comparisons, K values.
    shared = votes.where(np.bincount(votes.unit_V)[votes.unit_V] > 1)
    domain, value_V = np.unique(shared.value_V, return_inverse=True)
    if len(domain) < 2:
        return None
    coincidences_C_K_K = _coincidences(shared, value_V, len(domain))
    total_K_K = coincidences_C_K_K.sum(axis=0)

    # Comparisons with the same coincidences share their weight: the draws cost the same for ten and for a million.
    kinds, sizes = np.unique(coincidences_C_K_K.reshape(len(coincidences_C_K_K), -1), axis=0, return_counts=True)
    rows = np.vstack([kinds, _imaginary(total_K_K / len(coincidences_C_K_K))])
    weights = np.random.default_rng(seed).dirichlet([*sizes, 0.5, 0.5], size=draws) * (sizes.sum() + 1)
    drawn = _alpha((weights @ rows).reshape(draws, len(domain), len(domain)), level)
    alpha = float(_alpha(total_K_K[None], level)[0])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(alpha, min(float(low), alpha), max(float(high), alpha), len(coincidences_C_K_K))


def plain_agreement(votes: Votes, confidence: float = 0.95) -> Estimate | None:
    """Of all pairs of votes on the same thing by two annotators, the share that is equal. `n` counts comparisons.

    None without any such pair. The interval is that of `win_rate`, comparisons being the clusters.
    """
    # Each vote is held against the others; so each pair of votes is met twice, once from either side.
    others_V, equal_V = _others(votes)
    return _share(votes.comparison_V, equal_V / 2, others_V / 2, confidence)


def agreement_with_others(votes: Votes, confidence: float = 0.95) -> dict[int, Estimate]:
    """By annotator: of all pairs of their vote and another's on the same thing, the share that is equal.

    Who shares nothing with anybody is left out. `n` and interval as in `plain_agreement`.
    """
    others_V, equal_V = _others(votes)
    shares = {
        int(annotator): _share(votes.comparison_V[theirs], equal_V[theirs], others_V[theirs], confidence)
        for annotator in np.unique(votes.annotator_V)
        for theirs in [votes.annotator_V == annotator]
    }
    return {annotator: share for annotator, share in shares.items() if share is not None}


def proportion(successes: int, n: int, confidence: float = 0.95) -> Estimate | None:
    """The share of successes with its interval (Wilson 1927), for trials that do not depend on each other.

    None for n = 0, ValueError for more successes than trials.
    """
    if n == 0 and successes == 0:
        return None
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    share, z = successes / n, float(ndtri((1 + confidence) / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + (z / (2 * n)) ** 2) ** 0.5
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half), n)


def _refuse_doubles(comparison_V: Ints, annotator_V: Ints, unit_V: Ints) -> None:
    order = np.lexsort((annotator_V, unit_V))
    doubled = (np.diff(unit_V[order]) == 0) & (np.diff(annotator_V[order]) == 0)
    if doubled.any():
        vote = order[doubled.argmax()]
        raise ValueError(f"annotator {annotator_V[vote]} judged comparison {comparison_V[vote]} twice; take the newest")


def _coincidences(votes: Votes, value_V: Ints, size: int) -> Floats:
    """Of every comparison: how often each two values were given to the same thing, weighted as Krippendorff says."""
    _, first_U, unit_V = np.unique(votes.unit_V, return_index=True, return_inverse=True)
    counts_U_K = np.bincount(unit_V * size + value_V, minlength=len(first_U) * size).reshape(-1, size).astype(float)
    pairs_U_K_K = counts_U_K[:, :, None] * counts_U_K[:, None, :] - counts_U_K[:, :, None] * np.eye(size)
    pairs_U_K_K /= counts_U_K.sum(axis=1)[:, None, None] - 1
    _, first_unit_C = np.unique(votes.comparison_V[first_U], return_index=True)  # units are numbered by comparison
    return np.asarray(np.add.reduceat(pairs_U_K_K, first_unit_C))


def _others(votes: Votes) -> tuple[Ints, Ints]:
    """Of every vote: how many others there are on the same thing, and how many of them are equal to it."""
    _, said_V, said_S = np.unique(
        votes.unit_V * (votes.value_V.max(initial=0) + 1) + votes.value_V, return_inverse=True, return_counts=True
    )
    return np.bincount(votes.unit_V)[votes.unit_V] - 1, said_S[said_V] - 1


def _share(comparison_V: Ints, equal_V: NDArray[Any], others_V: NDArray[Any], confidence: float) -> Estimate | None:
    """Who agree "win" against who do not: the arithmetic of a win rate, comparisons being the clusters."""
    _, comparison_V = np.unique(comparison_V, return_inverse=True)
    equal_C, others_C = (np.bincount(comparison_V, weights=weights_V) for weights_V in (equal_V, others_V))
    shared_C = others_C > 0
    if not shared_C.any():
        return None
    low, high = clustered_interval(equal_C[shared_C], others_C[shared_C], confidence)
    value = float(equal_C.sum() / others_C.sum())
    return Estimate(value, min(low, value), max(high, value), int(shared_C.sum()))


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
