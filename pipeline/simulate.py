"""Simulated annotators with a planted taste: for the demo, for benchmarks, and as the loop's self-test.

A taste is a utility of a completion, documented beside its formula. An annotator is a taste with their own strictness,
a share of answers that they flip, and thresholds for "tie" and "both bad". Nothing here imitates people's opinions:
the point is that the truth is known, so that a report can say whether the loop recovered it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .errors import PrefloopError

Choice = Literal["left", "right", "tie", "both_bad"]

_WORD = re.compile(r"[A-Za-z0-9']+")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+\S", re.MULTILINE)
_END = re.compile(r"[.!?)\"'”’`*]\s*$")
_WARM = re.compile(
    r"\b(?:hello|hi|hey|welcome|dear|thank you|thanks|happy to|glad|delighted|wonderful|great question|of course|"
    r"absolutely|certainly|don't worry|no worries|feel free|let me know|hope|you've got this|you can do|proud|"
    r"congratulations|take care|enjoy|best wishes|warm|i understand|i'm sorry|sorry to hear|here to help|love)\b",
    re.IGNORECASE,
)


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def variety(text: str) -> float:
    """Share of distinct word trigrams, in [0, 1]; 1 for texts under three words. Loops and padding lower it."""
    tokens = words(text)
    trigrams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return len(set(trigrams)) / len(trigrams) if trigrams else 1.0


def is_complete(text: str, finish_reason: str) -> bool:
    """The model ended its turn by itself, and the last sentence is closed."""
    return finish_reason == "stop" and bool(_END.search(text))


def concise(text: str, finish_reason: str) -> float:
    """Concise and complete, in [0, 1]: 0.4 for ending properly, and 0.6 × brevity.

    Brevity is 1 from 8 to 25 words, 25 / words above, and words / 8 below.
    """
    count = len(words(text))
    brevity = min(count / 8, 1.0, 25 / max(count, 1))
    return (0.4 * is_complete(text, finish_reason) + 0.6 * brevity) * variety(text)


def structured(text: str, finish_reason: str) -> float:
    """Structured, in [0, 1]: 0.6 × list items (full marks from four), 0.2 × line breaks (full from four),
    0.1 for a bold or heading mark, 0.1 for a line that ends in a colon."""
    items = min(len(_LIST_ITEM.findall(text)), 4) / 4
    breaks = min(len(re.findall(r"\n+", text.strip())), 4) / 4
    marks = bool(re.search(r"\*\*\S|^#+ ", text, re.MULTILINE))
    colon = bool(re.search(r":\s*$", text, re.MULTILINE))
    return (0.6 * items + 0.2 * breaks + 0.1 * marks + 0.1 * colon) * variety(text)


def warm(text: str, finish_reason: str) -> float:
    """Warm in tone, in [0, 1]: 0.5 × warm phrases (full marks from three), 0.25 × exclamation marks (full from two),
    0.25 × address (full marks when 6 % of the words are "you" or "your")."""
    count = max(len(words(text)), 1)
    phrases = len({m.lower() for m in _WARM.findall(text)})
    address = sum(w.startswith("you") for w in words(text)) / count
    return (0.5 * min(phrases, 3) / 3 + 0.25 * min(text.count("!"), 2) / 2 + 0.25 * min(address / 0.06, 1.0)) * variety(
        text
    )


TASTES: dict[str, Callable[[str, str], float]] = {"concise": concise, "structured": structured, "warm": warm}


def utility(taste: str, text: str, finish_reason: str) -> float:
    """The clean taste's utility of one completion, in [0, 1]. An empty completion has none."""
    if taste not in TASTES:
        raise PrefloopError(f"unknown taste {taste!r}; choose one of {', '.join(sorted(TASTES))}")
    return TASTES[taste](text, finish_reason) if text.strip() else 0.0


@dataclass(frozen=True)
class SimulatedAnnotator:
    """One annotator's way of applying a taste. Stored with the annotator, so that every judgment can be explained."""

    taste: str
    flip_share: float = 0.15  # of decided answers, turned around
    tie_margin: float = 0.01  # utilities closer than this are a tie
    bad_below: float = 0.01  # both utilities below this: both bad
    length_bias: float = 0.0  # utility added per 100 words; differs between annotators
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def panel(taste: str, size: int, flip_share: float, seed: int = 0) -> list[SimulatedAnnotator]:
    """`size` annotators of one taste who differ in strictness and in a slight liking for long or short answers."""
    rng = random.Random(f"panel {taste} {seed}")
    return [
        SimulatedAnnotator(
            taste=taste,
            flip_share=flip_share,
            tie_margin=round(rng.uniform(0.005, 0.02), 3),
            bad_below=round(rng.uniform(0.0, 0.02), 3),
            length_bias=round(rng.uniform(-0.03, 0.03), 3),
            seed=seed * 1000 + number,
        )
        for number in range(size)
    ]


def judge(
    annotator: SimulatedAnnotator, key: str, left: tuple[str, str], right: tuple[str, str]
) -> tuple[Choice, bool]:
    """The annotator's choice between two (text, finish_reason), and whether it was flipped.

    `key` names the comparison: the same annotator answers the same question the same way, whatever the order of work.
    """
    rng = random.Random(f"{annotator.seed} {key}")
    values = [
        utility(annotator.taste, text, finish) + annotator.length_bias * len(words(text)) / 100
        for text, finish in (left, right)
    ]
    flipped = rng.random() < annotator.flip_share
    if max(values) < annotator.bad_below:
        return "both_bad", False
    if abs(values[0] - values[1]) < annotator.tie_margin:
        return "tie", False
    left_wins = (values[0] > values[1]) != flipped
    return ("left" if left_wins else "right"), flipped


def response_ms(annotator: SimulatedAnnotator, key: str, texts: Sequence[str]) -> int:
    """A plausible reading time: 4 words a second and a second to decide, with spread. For dashboards, not for truth."""
    rng = random.Random(f"time {annotator.seed} {key}")
    return int(1000 * (1 + sum(len(words(t)) for t in texts) / 4) * rng.uniform(0.5, 1.5))
