"""Do the statistics of comparisons keep what they promise? False promotions, power, coverage, and Bradley-Terry.

    python benchmarks/comparing.py      about a minute of one core

Everything is simulated from known truths; the code measured is that of pipeline/stats, and evalica is the oracle.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import evalica
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy import stats

from pipeline.stats.bradley_terry import fit, fit_votes, tally
from pipeline.stats.power import sequential_votes_to_detect, votes_to_detect
from pipeline.stats.sequential import first_verdict
from pipeline.stats.win_rate import clustered_interval

Draw = Callable[[np.random.Generator], tuple[NDArray[np.int64], NDArray[np.float64]]]
COMPARISONS, VOTES = 2000, 400
POWER_COMPARISONS, POWER_VOTES = 1000, 1200
console = Console(stderr=True)  # progress; the figures alone go to standard output


def votes(prompts: int, each: int, rate: float, ties: float, concentration: float | None = None) -> Draw:
    """Votes in an order of their own. With a concentration prompts differ: each has a rate of its own, by a beta."""

    def draw(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        of_prompt = np.full(prompts, rate)
        if concentration is not None:
            of_prompt = rng.beta(rate * concentration, (1 - rate) * concentration, prompts)
        prompt_V = rng.permutation(np.repeat(np.arange(prompts), each))
        won_V = (rng.random(len(prompt_V)) < of_prompt[prompt_V]).astype(float)
        return prompt_V, np.where(rng.random(len(prompt_V)) < ties, 0.5, won_V)

    return draw


def false_promotions() -> None:
    print(f"\n| two equal versions, {VOTES} votes at the most | promoted | called worse | ordinary interval promotes |")
    print("|---|---|---|---|")
    for words, each, ties, concentration in [
        ("one vote a prompt", 1, 0.0, None),
        ("one vote a prompt, 30 % ties", 1, 0.3, None),
        ("3 votes a prompt, prompts differ, 20 % ties", 3, 0.2, 1.0),
        ("3 votes a prompt, always equal", 3, 0.0, 1e-6),
    ]:
        rng = np.random.default_rng(0)
        draw = votes(VOTES // each, each, 0.5, ties, concentration)
        found, ordinary = [], 0
        for _ in track(range(COMPARISONS), words, transient=True, console=console):
            prompt_V, outcome_V = draw(rng)
            verdict = first_verdict(list(zip(prompt_V.tolist(), outcome_V.tolist(), strict=True)), 0.95, each)
            found.append(None if verdict is None else verdict[1])
            ordinary += promoted_by_an_ordinary_interval(outcome_V)
        shares = [found.count("better") / COMPARISONS, found.count("worse") / COMPARISONS, ordinary / COMPARISONS]
        print(f"| {words} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")


def promoted_by_an_ordinary_interval(outcome_V: NDArray[np.float64]) -> bool:
    """What goes wrong otherwise: the t interval of `win_rate`, votes taken for independent, read from the tenth on."""
    number_V = np.arange(1, len(outcome_V) + 1) + 2
    mean_V = (outcome_V.cumsum() + 1) / number_V
    squares_V = (outcome_V**2).cumsum() + 1
    error_V = np.sqrt((squares_V / number_V - mean_V**2) / (number_V - 1))
    low_V = mean_V - stats.t.ppf(0.975, number_V - 1) * error_V
    return bool((low_V[9:] > 0.5).any())


def power() -> None:
    print(
        f"\n| true win rate | found of {POWER_COMPARISONS} | by the fixed size | mean votes | foretold | fixed size |"
    )
    print("|---|---|---|---|---|---|")
    for rate, ties in [(0.6, 0.0), (0.6, 0.3), (0.7, 0.0)]:
        rng = np.random.default_rng(1)
        wins = rate - ties / 2
        size, foretold = votes_to_detect(rate, ties=ties), sequential_votes_to_detect(rate, ties=ties)
        right, within, needed = 0, 0, []
        for _ in track(range(POWER_COMPARISONS), f"{rate:.0%}", transient=True, console=console):
            outcome_V = rng.choice([1.0, 0.5, 0.0], p=[wins, ties, 1 - wins - ties], size=POWER_VOTES)
            verdict = first_verdict(list(enumerate(outcome_V.tolist())))
            right += verdict is not None and verdict[1] == "better"
            within += verdict is not None and verdict[0] <= size
            needed.append(POWER_VOTES if verdict is None else verdict[0])
        shares = f"{right / POWER_COMPARISONS:.1%} | {within / POWER_COMPARISONS:.1%}"
        words = f"{rate:.0%}" + (f", {ties:.0%} ties" if ties else "")
        print(f"| {words} | {shares} | {np.mean(needed):.0f} | {foretold.mean:.0f} | {size} |")


def coverage() -> None:
    rates = [0.5, 0.6, 0.7, 0.85]
    print("\n| coverage of the 95 % interval, by true rate | " + " | ".join(f"{rate:.0%}" for rate in rates) + " |")
    print("|---" * (1 + len(rates)) + "|")
    for prompts in (20, 60, 200):
        for words, each, concentration in [
            ("2 votes each, prompts differ a little", 2, 4.0),
            ("3 votes each, prompts differ", 3, 1.0),
            ("5 votes each, almost all equal", 5, 0.3),
            ("1 vote on half of them, 5 on the others", 0, 2.0),
        ]:
            rng = np.random.default_rng(2)
            cells = []
            for rate in rates:
                inside = 0
                for _ in range(2000):
                    sizes = np.full(prompts, each) if each else np.where(rng.random(prompts) < 0.5, 1, 5)
                    of_prompt = rng.beta(rate * concentration, (1 - rate) * concentration, prompts)
                    low, high = clustered_interval(rng.binomial(sizes, of_prompt).astype(float), sizes, 0.95)
                    inside += low <= rate <= high
                cells.append(f"{inside / 2000:.1%}")
            print(f"| {prompts} prompts, {words} | " + " | ".join(cells) + " |")


def bradley_terry() -> None:
    apart = 0.0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        versions = int(rng.integers(2, 12))
        first_N, second_N, outcome_N = tournament(rng, rng.normal(0, 1, versions), 40 * versions)
        outcome_N[rng.random(len(outcome_N)) < 0.25] = 0.5
        ours = fit(tally(first_N, second_N, outcome_N, versions)).score_V
        winner = {1.0: evalica.Winner.X, 0.5: evalica.Winner.Draw, 0.0: evalica.Winner.Y}
        said = [winner[outcome] for outcome in outcome_N]
        sides = first_N.tolist(), second_N.tolist()
        theirs = evalica.bradley_terry(*sides, said, tie_weight=0.5, tolerance=1e-12, limit=100_000)
        theirs_V = np.log(theirs.scores.sort_index().to_numpy())
        apart = max(apart, float(np.abs(ours - (theirs_V - theirs_V.mean())).max()))
    print(f"\nBradley-Terry: 50 tournaments with ties, largest difference from evalica {apart:.1e} nats")

    rng = np.random.default_rng(0)
    votes_N = tournament(rng, rng.normal(0, 0.7, 100), 1_000_000)
    ways: dict[str, Callable[[], object]] = {
        "counted and fitted": lambda: fit(tally(*votes_N, 100)),
        "with intervals clustered by 250,000 prompts": lambda: fit_votes(np.arange(1_000_000) // 4, *votes_N, 100),
    }
    for words, run in ways.items():
        wall, processor = time.perf_counter(), time.process_time()
        run()
        spent = f"{time.perf_counter() - wall:.2f} s, of processor {time.process_time() - processor:.2f} s"
        print(f"100 versions, 1,000,000 votes, {words}: {spent}")


def tournament(
    rng: np.random.Generator, score_V: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    first_N = rng.integers(len(score_V), size=count)
    second_N = (first_N + rng.integers(1, len(score_V), size=count)) % len(score_V)
    chance_N = 1 / (1 + np.exp(score_V[second_N] - score_V[first_N]))
    return first_N, second_N, (rng.random(count) < chance_N).astype(float)


if __name__ == "__main__":
    false_promotions()
    power()
    coverage()
    bradley_terry()
