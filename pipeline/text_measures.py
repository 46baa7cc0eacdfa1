"""Measures of answers as texts: how much they repeat themselves, refuse, and differ from each other.

Pure, on words as `simulate.words` takes them (runs of letters, digits and apostrophes, lower case).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from .simulate import words

# How refusals of instruction-tuned models begin. A list of phrases is the usual detector (AdvBench's, Zou et al. 2023,
# arXiv:2307.15043, is another one): it misses a refusal that is worded otherwise, and takes no answer for one that only
# mentions a phrase further on.
_UNABLE = (
    r"(?:i|we)(?: a|')?(?:m|re)? ?"
    r"(?:can'?t|cannot|can not|won'?t|will not|unable to|not (?:able|allowed) to|must decline)\b"
)
_REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am|we'?re) (?:so |very |really )?sorry,? but|i apologi[sz]e,? but"
    rf"|(?:(?:sorry|apologies|unfortunately),? (?:but )?)?{_UNABLE}"
    r"|as an? (?:ai|artificial|language model))",
    re.IGNORECASE,
)


def repetition(text: str) -> float:
    """Share of word 4-grams that stood in the text before, in [0, 1]; 0 for texts under five words.

    "seq-rep-4" of Welleck et al. 2020 (Neural Text Generation with Unlikelihood Training, section 6), on words.
    """
    grams = _grams(words(text), 4)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def is_refusal(text: str) -> bool:
    """The answer begins by saying that it will not, or cannot, answer."""
    return _REFUSAL.match(text.replace("’", "'")) is not None


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Distinct word n-grams over all n-grams of all texts together, in [0, 1]; 1 without any.

    "distinct-n" of Li et al. 2016 (arXiv:1510.03055). It falls with the amount of text: compare it between answers to
    the same prompts, and look at their lengths, too.
    """
    grams = [gram for text in texts for gram in _grams(words(text), n)]
    return len(set(grams)) / len(grams) if grams else 1.0


def _grams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(islice(tokens, start, None) for start in range(n)), strict=False))
