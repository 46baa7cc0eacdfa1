"""The win rate at equal length: what is left of a version's wins when longer answers win for their length alone.

After Dubois et al. (2024), "Length-Controlled AlpacaEval", arXiv:2404.04475: a logistic regression of the outcome on
the standardized difference in length, read where the difference is 0. Their term for the difficulty of each prompt is
left out: it needs the outcomes of many versions on the same prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, stdtrit

Floats = NDArray[np.float64]
STEPS = 100  # of Newton; six are usual


@dataclass(frozen=True)
class LengthControl:
    """Win rate at equal length, ties half, with a two-sided confidence interval."""

    rate: float
    low: float
    high: float
    uncontrolled: float  # the plain win rate of the same comparisons
    longer: float  # win rate that one standard deviation more of length would give an equal version
    comparisons: int
    prompts: int


def length_controlled(outcomes: Sequence[tuple[int, float, float]], confidence: float = 0.95) -> LengthControl:
    """From (prompt, outcome, our length − theirs), outcomes as in `win_rate` and lengths in any unit.

    The chance to win is σ(θ + φ tanh(difference / its standard deviation)), arXiv:2404.04475, Section 3; the rate at
    equal length is σ(θ). A tie is half a win and half a loss. The interval is Student's t for θ on a cluster-robust
    covariance, prompts being the clusters. As in `win_rate` two imaginary prompts are added, one won and one lost, here
    at lengths of one standard deviation either way: so the fit exists where the longer answer always wins. They pull
    the rate a little towards one half. ValueError without comparisons, and for other outcomes.

    It controls for what length explains among these comparisons. Where one version's answers are always much longer
    than the other's, equal length is an extrapolation, and the interval grows.
    """
    if not outcomes:
        raise ValueError("no comparisons to take a win rate of")
    prompts, values, differences = (np.array(column) for column in zip(*outcomes, strict=True))
    unknown = ~np.isin(values, (0.0, 0.5, 1.0))
    if unknown.any():
        raise ValueError(f"an outcome is 0, 0.5 or 1, not {values[unknown.argmax()]}")
    _, prompt_N = np.unique(prompts, return_inverse=True)
    count, real = len(values), int(prompt_N.max()) + 1

    # Rows: the comparisons, then two for each imaginary prompt, which weighs as much as a mean real one.
    spread = differences.std()
    tanh_N = np.tanh(differences / spread) if spread > 0 else np.zeros(count)
    tanh_N = np.concatenate([tanh_N, np.tanh([1.0, -1.0, 1.0, -1.0])])
    weight_N = np.concatenate([np.ones(count), np.full(4, count / real / 2)])
    won_N = np.concatenate([values, [1.0, 1.0, 0.0, 0.0]])
    prompt_N = np.concatenate([prompt_N, [real, real, real + 1, real + 1]])

    design_N_2 = np.stack([np.ones(len(tanh_N)), tanh_N], axis=1)
    (theta, phi), covariance = _logistic(design_N_2, won_N, weight_N, prompt_N)
    half = stdtrit(real + 1, (1 + confidence) / 2) * covariance[0, 0] ** 0.5
    return LengthControl(
        rate=float(expit(theta)),
        low=float(expit(theta - half)),
        high=float(expit(theta + half)),
        uncontrolled=float(values.mean()),
        longer=float(expit(phi * np.tanh(1.0))),
        comparisons=count,
        prompts=real,
    )


def _logistic(
    design_N_K: Floats, won_N: Floats, weight_N: Floats, cluster_N: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Coefficients of a weighted logistic regression, by Newton's method, and their cluster-robust covariance."""
    found_K = np.zeros(design_N_K.shape[1])
    for _ in range(STEPS):
        chance_N = expit(design_N_K @ found_K)
        surprise_N_K = (weight_N * (won_N - chance_N))[:, None] * design_N_K
        information_K_K = (design_N_K * (weight_N * chance_N * (1 - chance_N))[:, None]).T @ design_N_K
        step_K = np.linalg.solve(information_K_K, surprise_N_K.sum(axis=0))
        found_K = found_K + step_K / max(1.0, np.abs(step_K).max())
        if np.abs(step_K).max() < 1e-9:
            break
    else:
        raise ArithmeticError(f"the regression did not settle in {STEPS} steps")
    clusters = int(cluster_N.max()) + 1
    surprise_C_K = np.zeros((clusters, len(found_K)))
    np.add.at(surprise_C_K, cluster_N, surprise_N_K)
    inverse_K_K = np.linalg.inv(information_K_K)
    spread_K_K = clusters / (clusters - 1) * surprise_C_K.T @ surprise_C_K
    return found_K, inverse_K_K @ spread_K_K @ inverse_K_K
