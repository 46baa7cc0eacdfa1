"""How often a judge says what people said, on pairs that both decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .win_rate import win_rate


@dataclass(frozen=True)
class JudgeAgreement:
    """The share of votes in which a judge took the same side, with a two-sided interval, and Cohen's kappa."""

    agreement: float
    low: float
    high: float
    kappa: float | None  # None where it is not defined: both always took the same side
    pairs: int
    votes: int  # on these pairs, one for each person
    undecided: int  # votes on pairs of which the judge said nothing that decides: they count above nowhere


def judge_agreement(
    votes: Sequence[tuple[int, bool, Literal["win", "loss"] | None]], confidence: float = 0.95
) -> JudgeAgreement | None:
    """From (pair, whether a person preferred its first answer, the judge's verdict on that one; None: undecided).

    None when there is no pair that both decided. Ties are left out on either side, as in setup S2 of Zheng et al. 2023
    (arXiv:2306.05685, section 4.2). The interval is that of `win_rate`, pairs being the clusters. Kappa is Cohen's
    (1960): agreement beyond what two would reach who take the first side as often as these, and know nothing.
    """
    both = [(pair, first, said == "win") for pair, first, said in votes if said is not None]
    if not both:
        return None
    rate = win_rate([(pair, float(first == judge)) for pair, first, judge in both], confidence)
    counts = Counter((first, judge) for _, first, judge in both)
    people, judges = (sum(count for sides, count in counts.items() if sides[who]) / len(both) for who in (0, 1))
    by_chance = people * judges + (1 - people) * (1 - judges)
    return JudgeAgreement(
        agreement=rate.rate,
        low=rate.low,
        high=rate.high,
        kappa=None if by_chance == 1 else (rate.rate - by_chance) / (1 - by_chance),
        pairs=rate.prompts,
        votes=len(both),
        undecided=len(votes) - len(both),
    )
