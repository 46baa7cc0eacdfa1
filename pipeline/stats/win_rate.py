"""Win rate of one version against another, with an interval that respects that answers to one prompt go together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # not scipy.stats, whose import takes as long as all others of a command


@dataclass(frozen=True)
class WinRate:
    """Share of comparisons won, a tie counting half, with a two-sided confidence interval."""

    rate: float
    low: float
    high: float
    comparisons: int
    prompts: int
    wins: int
    ties: int
    losses: int


def win_rate(outcomes: Iterable[tuple[int, float]], confidence: float = 0.95) -> WinRate:
    """From (prompt, outcome) pairs: 1 a win, 0.5 a tie, 0 a loss. Raises ValueError without any.

    The interval is Student's t on a cluster-robust standard error (Liang & Zeger 1986, with the G / (G − 1)
    correction), prompts being the clusters. Before it is computed two imaginary prompts are added, one won and one
    lost: the idea of Agresti & Coull (1998) of pulling the centre inwards, so that 60 wins out of 60 do not give an
    interval of width zero. The rate itself is the plain share.
    """
    by_prompt: dict[int, list[float]] = defaultdict(list)
    for prompt, outcome in outcomes:
        if outcome not in (0.0, 0.5, 1.0):
            raise ValueError(f"an outcome is 0, 0.5 or 1, not {outcome}")
        by_prompt[prompt].append(outcome)
    if not by_prompt:
        raise ValueError("no comparisons to take a win rate of")
    sums = np.array([sum(group) for group in by_prompt.values()])
    sizes = np.array([len(group) for group in by_prompt.values()])
    low, high = clustered_interval(sums, sizes, confidence)
    values = np.concatenate([np.asarray(group) for group in by_prompt.values()])
    return WinRate(
        rate=float(values.mean()),
        low=low,
        high=high,
        comparisons=len(values),
        prompts=len(by_prompt),
        wins=int((values == 1).sum()),
        ties=int((values == 0.5).sum()),
        losses=int((values == 0).sum()),
    )


def clustered_interval(sums_C: NDArray[Any], sizes_C: NDArray[Any], confidence: float) -> tuple[float, float]:
    """The interval that `win_rate` describes, from the outcomes of each of C clusters: their sum, and their number."""
    centre, error, freedom = clustered_error(sums_C, sizes_C)
    half = stdtrit(freedom, (1 + confidence) / 2) * error
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def clustered_error(sums_C: NDArray[Any], sizes_C: NDArray[Any]) -> tuple[float, float, int]:
    """The centre of that interval, its standard error, and the degrees of freedom of its t."""
    per_cluster = sizes_C.sum() / len(sizes_C)  # an imaginary prompt weighs as much as a mean real one
    sums = np.concatenate([sums_C, [per_cluster, 0.0]])
    sizes = np.concatenate([sizes_C, [per_cluster, per_cluster]])
    clusters = len(sums)
    centre = sums.sum() / sizes.sum()
    residuals = sums - centre * sizes
    error = np.sqrt(clusters / (clusters - 1) * (residuals**2).sum()) / sizes.sum()
    return float(centre), float(error), clusters - 1
