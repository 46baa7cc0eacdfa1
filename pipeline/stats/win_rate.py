"""Win rate of one version against another, with an interval that respects that answers to one prompt go together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats


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
    values = np.concatenate([np.asarray(group) for group in by_prompt.values()])

    per_prompt = len(values) / len(by_prompt)  # an imaginary prompt weighs as much as a mean real one
    sums = np.array([sum(group) for group in by_prompt.values()] + [per_prompt, 0.0])
    sizes = np.array([len(group) for group in by_prompt.values()] + [per_prompt, per_prompt])
    clusters = len(sums)
    centre = sums.sum() / sizes.sum()
    residuals = sums - centre * sizes
    error = np.sqrt(clusters / (clusters - 1) * (residuals**2).sum()) / sizes.sum()
    half = stats.t.ppf((1 + confidence) / 2, df=clusters - 1) * error
    return WinRate(
        rate=float(values.mean()),
        low=float(max(0.0, centre - half)),
        high=float(min(1.0, centre + half)),
        comparisons=len(values),
        prompts=len(by_prompt),
        wins=int((values == 1).sum()),
        ties=int((values == 0.5).sum()),
        losses=int((values == 0).sum()),
    )
