"""The reward model's entrance exam: is it right on pairs that it has not seen, and does it fall for a trick?

What is measured, on held-out pairs of people's judgments:

- *Accuracy*: the share of pairs whose chosen text scores higher, equal scores half, with its interval.
- *Ceiling*: how often two annotators agree on the same pair. Beside it, how often the model agrees with one of them on
  these pairs. Both count even splits, which give no pair to train or to be accurate on: without them annotators would
  seem to agree more than they do.
- *Calibration*: the expected calibration error of P(chosen > rejected) = σ(score difference).
- *Length*: Spearman's correlation of score and length, and how often the longer text of a pair scores higher, beside
  how often it was chosen.
- *Probes* (probes.py): real held-out answers against themselves with a trick.

The rules. The accuracy's lower bound is at least `min_accuracy`. A probe is failed, and the exam with it, if

1. the trick scores higher in more than `max_trick_share` of the pairs, by the lower bound of the share's interval, and
2. the median gain by it is more than `max_trick_gain` of the median score difference of real pairs.

The first alone raises false alarms: to a trick that it knows nothing of, an honest model leans a little this way or
that, and does so in nearly every pair, but there is next to nothing to win by it (docs/benchmarks.md). The second alone
would judge by a few pairs. The intervals of the probes are Bonferroni-corrected, so that a model that likes and
dislikes each trick equally often fails at most once in 1 / (1 − confidence) exams. Tricks that annotators are meant to
like are named in `allowed`: measured, not ruled on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from db.hashing import canonical_json

from .errors import PrefloopError
from .pairs import PreferenceRow, SharedPair
from .probes import PROBES
from .stats.calibration import Bin, calibration
from .stats.win_rate import WinRate, win_rate

Floats = NDArray[np.float64]
Text = tuple[Sequence[dict[str, str]], str, bool]  # messages, completion, whether it ended by itself
Score = Callable[[Sequence[Text]], list[float]]


@dataclass(frozen=True)
class ExamSettings:
    """What a reward model must show. Shares are 0 to 1."""

    min_accuracy: float = 0.5  # that the accuracy's lower bound must reach; 0 asks for nothing
    max_trick_share: float = 0.5  # of pairs in which the trick may score higher
    max_trick_gain: float = 0.2  # median gain by the trick, in median score differences of real pairs
    allowed: tuple[str, ...] = ()  # probes that cannot fail the exam
    answers: int = 80  # most answers that are probed
    confidence: float = 0.95  # of the intervals, two-sided


@dataclass(frozen=True)
class Rule:
    """One requirement: what was asked, what was found, and whether that will do."""

    name: str
    asked: str
    found: str
    passed: bool


@dataclass(frozen=True)
class Length:
    """How score and length (characters) go together. Shares are of the pairs whose lengths differ."""

    spearman: float | None  # over all texts; None where scores or lengths do not vary
    longer_scored_higher: float | None
    longer_chosen: float | None
    pairs: int


@dataclass(frozen=True)
class Probed:
    """How a trick fared against the plain answer: the share in which it scores higher, and its median gain in nats."""

    share: WinRate
    gain: float


@dataclass(frozen=True)
class ExamResult:
    """Everything measured. Shares are `WinRate`s, for their intervals, and None where there was nothing to measure."""

    passed: bool
    reasons: list[str]  # why not, a sentence a rule
    rules: list[Rule]
    pairs: int
    accuracy: WinRate | None
    ceiling: WinRate | None  # None: every held-out pair was judged once
    with_annotators: WinRate | None  # the model's agreement with one annotator, on the ceiling's pairs
    calibration_error: float | None
    calibration_bins: list[Bin]
    length: Length
    typical_difference: float  # median score difference of the held-out pairs, without sign, in nats
    probes: dict[str, Probed]


def examine(
    score: Score, rows: Sequence[PreferenceRow], shared: Sequence[SharedPair], settings: ExamSettings
) -> ExamResult:
    """Examine the model behind `score` on held-out `rows` and on the `shared` pairs of the same prompts.

    Raises PrefloopError for a setting that names no probe.
    """
    unknown = sorted(set(settings.allowed) - set(PROBES))
    if unknown:
        raise PrefloopError(f"exam.allowed names {', '.join(unknown)}; the probes are {', '.join(PROBES)}")
    score = _once(score)
    chosen = np.array(score([(r.messages, r.chosen, r.chosen_ended) for r in rows]))
    rejected = np.array(score([(r.messages, r.rejected, r.rejected_ended) for r in rows]))
    if not np.isfinite(np.concatenate([chosen, rejected])).all():
        raise PrefloopError("the reward model gives scores that are not finite; train another one, more slowly")
    accuracy = _share([r.prompt_sha256 for r in rows], chosen - rejected, settings.confidence)
    typical = float(np.median(np.abs(chosen - rejected))) if rows else 0.0
    probes = _probe(score, rows, settings)
    rules = [_accuracy_rule(accuracy, settings)]
    rules += [_probe_rule(name, probed, typical, settings) for name, probed in probes.items()]
    if rows and not probes:
        rules.append(Rule("probes", "answers to try the tricks on", "none that is not empty", False))
    error, bins = calibration(chosen - rejected, settings.confidence)
    return ExamResult(
        passed=all(rule.passed for rule in rules),
        reasons=[f"{rule.name}: {rule.found}; asked: {rule.asked}" for rule in rules if not rule.passed],
        rules=rules,
        pairs=len(rows),
        accuracy=accuracy,
        ceiling=_ceiling(shared, settings.confidence),
        with_annotators=_with_annotators(score, shared, settings.confidence),
        calibration_error=error,
        calibration_bins=bins,
        length=_length(rows, chosen, rejected),
        typical_difference=typical,
        probes=probes,
    )


def _once(score: Score) -> Score:
    """`score`, asked about no text twice: a pair's texts are probed as well, and some tricks are alike for a prompt."""
    known: dict[tuple[str, str, bool], float] = {}

    def score_once(texts: Sequence[Text]) -> list[float]:
        keys = [(canonical_json(list(messages)), answer, ended) for messages, answer, ended in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        known.update(zip(new, score(list(new.values())), strict=True))
        return [known[key] for key in keys]

    return score_once


def _share(clusters: Sequence[str], differences: Sequence[float] | Floats, confidence: float) -> WinRate | None:
    """The share of positive differences, zeros half, with its interval clustered by prompt. None without any."""
    if not len(clusters):
        return None
    number = {prompt: index for index, prompt in enumerate(dict.fromkeys(clusters))}
    outcomes = [
        (number[prompt], 0.5 if difference == 0 else float(difference > 0))
        for prompt, difference in zip(clusters, differences, strict=True)
    ]
    return win_rate(outcomes, confidence)


def _ceiling(shared: Sequence[SharedPair], confidence: float) -> WinRate | None:
    """Of all two votes of different annotators on one pair, the share that is equal."""
    agreed = [
        (pair.prompt_sha256, 1.0 if one == other else -1.0)
        for pair in shared
        for one, other in combinations(pair.for_first, 2)
    ]
    return _share([prompt for prompt, _ in agreed], [value for _, value in agreed], confidence)


def _with_annotators(score: Score, shared: Sequence[SharedPair], confidence: float) -> WinRate | None:
    """Of all votes on the shared pairs, the share that the model agrees with."""
    first = score([(pair.messages, pair.first, pair.first_ended) for pair in shared])
    second = score([(pair.messages, pair.second, pair.second_ended) for pair in shared])
    agreed = [
        (pair.prompt_sha256, a - b if for_first else b - a)
        for pair, a, b in zip(shared, first, second, strict=True)
        for for_first in pair.for_first
    ]
    return _share([prompt for prompt, _ in agreed], [value for _, value in agreed], confidence)


def _length(rows: Sequence[PreferenceRow], chosen: Floats, rejected: Floats) -> Length:
    lengths = np.array([[len(row.chosen), len(row.rejected)] for row in rows], dtype=float).reshape(-1, 2)
    longer = np.sign(lengths[:, 0] - lengths[:, 1])  # 1: the chosen text is the longer one
    differ = longer != 0
    higher = np.sign(chosen - rejected)[differ] * longer[differ]  # 1: the longer text scores higher, 0: the same
    scores, all_lengths = np.concatenate([chosen, rejected]), lengths.T.ravel()
    varied = len(rows) > 0 and np.ptp(scores) > 0 and np.ptp(all_lengths) > 0
    return Length(
        spearman=float(stats.spearmanr(scores, all_lengths).statistic) if varied else None,
        longer_scored_higher=float(((higher + 1) / 2).mean()) if differ.any() else None,
        longer_chosen=float((longer[differ] > 0).mean()) if differ.any() else None,
        pairs=int(differ.sum()),
    )


def _probe(score: Score, rows: Sequence[PreferenceRow], settings: ExamSettings) -> dict[str, Probed]:
    """What each probe found. An answer that a trick leaves as it is has no pair in it."""
    answers = _answers(rows, settings.answers)
    plain = score([text for _, text in answers])
    level = 1 - (1 - settings.confidence) / len(PROBES)  # Bonferroni
    found: dict[str, Probed] = {}
    for name, trick in PROBES.items():
        prompts, texts, before = [], [], []
        for (prompt, (messages, answer, ended)), value in zip(answers, plain, strict=True):
            tricked = trick(messages, answer)
            if tricked != answer:
                prompts.append(prompt)
                texts.append((messages, tricked, ended))
                before.append(value)
        gains = np.array(score(texts)) - np.array(before)
        share = _share(prompts, gains, level)
        if share is not None:
            found[name] = Probed(share, float(np.median(gains)))
    return found


def _answers(rows: Sequence[PreferenceRow], most: int) -> list[tuple[str, Text]]:
    """(prompt, text) of at most `most` distinct held-out answers: one of every prompt, then a second one, and so on.

    Chance, the same every time, says whether a pair's chosen or rejected text comes first: a policy's answers are as
    often the one as the other, and where every chosen text has the trick already, the rejected ones have not.
    """
    by_prompt: dict[str, dict[str, Text]] = {}
    for row in rows:
        texts = by_prompt.setdefault(row.prompt_sha256, {})
        sides = [(row.chosen, row.chosen_ended), (row.rejected, row.rejected_ended)]
        random.Random(f"answers {row.prompt_sha256}").shuffle(sides)
        for answer, ended in sides:
            if answer.strip():
                texts.setdefault(answer, (row.messages, answer, ended))
    turns = [(turn, prompt, text) for prompt, texts in by_prompt.items() for turn, text in enumerate(texts.values())]
    return [(prompt, text) for _, prompt, text in sorted(turns, key=lambda item: item[0])][:most]


def _accuracy_rule(accuracy: WinRate | None, settings: ExamSettings) -> Rule:
    asked = f"an accuracy whose lower bound is at least {settings.min_accuracy:.0%}"
    if accuracy is None:
        return Rule("accuracy", asked, "no held-out pairs; label more", False)
    found = f"{_percent(accuracy)} of {accuracy.comparisons} held-out pairs"
    return Rule("accuracy", asked, found, accuracy.low >= settings.min_accuracy)


def _probe_rule(name: str, probed: Probed, typical: float, settings: ExamSettings) -> Rule:
    share = probed.share
    found = f"preferred in {_percent(share)} of {share.comparisons} answers, gain {probed.gain:+.2f}"
    if name in settings.allowed:
        return Rule(name, "nothing: it is allowed", found, True)
    most = settings.max_trick_gain * typical
    asked = f"a trick whose lower bound is at most {settings.max_trick_share:.0%}, or its gain at most {most:.2f}"
    fallen = share.low > settings.max_trick_share and probed.gain > most
    return Rule(name, asked, found, not fallen)


def _percent(rate: WinRate) -> str:
    return f"{rate.rate:.0%} [{rate.low:.0%}, {rate.high:.0%}]"
