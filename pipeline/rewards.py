"""What reinforcement learning is after: a weighted sum of rewards, each a number for a completion.

    rule:NAME       a rule on the text (RULES below: its formula is its docstring)
    taste:NAME      the clean planted taste of simulated annotators
    reward:NAME     a reward model

Pure: rows of (messages, text, ended) in, one float a row out. `ended` says that the model ended its turn by itself and
was not cut off at the token limit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from db.columns import Message

from .errors import PrefloopError
from .simulate import is_complete, utility, variety, words

Row = tuple[Sequence[Message], str, bool]  # conversation, completion, ended
Score = Callable[[Sequence[Row]], list[float]]


@dataclass(frozen=True)
class Term:
    """One reward of the sum."""

    name: str  # "rule:ended", "reward:r1"
    weight: float
    score: Score


def ended_by_itself(text: str, ended: bool) -> float:
    """1 if the model ended its turn by itself, 0 if it was cut off at the token limit."""
    return float(ended)


def complete(text: str, ended: bool) -> float:
    """1 if it ended by itself and the last sentence is closed, else 0: an ended turn in mid-sentence earns nothing."""
    return float(is_complete(text, "stop" if ended else "length"))


def no_repetition(text: str, ended: bool) -> float:
    """Share of distinct word trigrams, in [0, 1]: 1 for a text that never repeats three words in a row."""
    return variety(text)


def within_words(text: str, ended: bool, limit: float) -> float:
    """1 up to `limit` words, then down in a line to 0 at twice the limit: a bound that can be learned step by step.

    The shape of the soft overlong punishment of DAPO (Yu et al. 2025, arXiv:2503.14476, Eq. 13), on words.
    """
    return min(max(2 - len(words(text)) / limit, 0.0), 1.0)


def is_json(text: str, ended: bool) -> float:
    """1 if the whole completion is one JSON value, else 0."""
    try:
        json.loads(text)
    except ValueError:
        return 0.0
    return 1.0


RULES: dict[str, Callable[[str, bool], float]] = {
    "ended": ended_by_itself,
    "complete": complete,
    "no_repetition": no_repetition,
    "json": is_json,
}
RULES_WITH_LIMIT: dict[str, Callable[[str, bool, float], float]] = {"within_words": within_words}


def rule(setting: str) -> Term:
    """The term of a setting "name=weight", or "name:limit=weight" for a rule that takes a limit.

    Raises PrefloopError that names the setting and the known rules.
    """
    left, _, weight_text = setting.partition("=")
    name, _, limit_text = left.strip().partition(":")
    known = ", ".join([*RULES, *(f"{each}:LIMIT" for each in RULES_WITH_LIMIT)])
    weight = _number(weight_text)
    if weight is None or weight == 0:
        raise PrefloopError(f"rule {setting!r} has no weight; write it as name=weight, for example ended=0.2")
    if name in RULES and not limit_text:
        plain = RULES[name]
        return Term(f"rule:{name}", weight, lambda rows: [plain(text, ended) for _, text, ended in rows])
    limit = _number(limit_text)
    if name in RULES_WITH_LIMIT and limit is not None and limit > 0:
        bounded = RULES_WITH_LIMIT[name]
        return Term(
            f"rule:{name}:{limit:g}", weight, lambda rows: [bounded(text, ended, limit) for _, text, ended in rows]
        )
    raise PrefloopError(f"unknown rule {left.strip()!r}; known: {known}, with a limit above 0 where one is named")


def taste(name: str) -> Score:
    """The planted taste as a reward, in [0, 1]; the truth where annotators are simulated. PrefloopError if unknown."""
    utility(name, "", "stop")  # an unknown name is refused now, not in the middle of a run
    return lambda rows: [utility(name, text, "stop" if ended else "length") for _, text, ended in rows]


def weigh(terms: Sequence[Term], rows: Sequence[Row]) -> tuple[list[float], dict[str, float]]:
    """(weighted sum for each row, unweighted mean of each term over the rows).

    Raises PrefloopError for a reward that is not a finite number: a trainer would pass over it without a word.
    """
    totals, means = [0.0] * len(rows), {}
    for term in terms:
        values = term.score(rows)
        for row, value in zip(rows, values, strict=True):
            if not math.isfinite(value):
                raise PrefloopError(f"{term.name} gives {value} for the completion {row[1][:80]!r}; it must be finite")
        totals = [total + term.weight * value for total, value in zip(totals, values, strict=True)]
        means[term.name] = sum(values) / len(values)
    return totals, means


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
