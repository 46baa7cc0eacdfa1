"""LABEL → rows for KTO: single answers that people found good or bad.

The policy: only prompts of the train split that nobody flagged, as in pairs.py. `up` and `down` are votes on the answer
that was shown, `up` in place of an edit too. A rating is one if it is clear: up when the mean of its aspects (1 to 5)
is at least 4, down when it is at most 2; between them it is counted as `middling`. Votes on one text of a prompt count
together, whichever candidate it was; the majority decides, and an even split is a `conflict` and gives no row. Anything
else is about several answers, or about a text that a person wrote, and is counted by its choice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from db.judgments import JudgmentRow

from .pairs import RowPolicy
from .rows import Rows, by_content, flagged_prompts, left_out

GOOD, BAD = 4, 2  # mean rating from which an answer is good, and up to which it is bad


@dataclass(frozen=True)
class ThumbRow:
    """`completion` is a good answer to `messages`, or a bad one. `ended`: the model ended it itself."""

    prompt_sha256: str
    messages: tuple[dict[str, str], ...]
    completion: str
    ended: bool
    good: bool
    votes_up: int
    votes_down: int


def build(judgments: Sequence[JudgmentRow], policy: RowPolicy) -> Rows[ThumbRow]:
    """Thumbs from judgments (newest of each chain), by the policy in this module's docstring."""
    counts: Counter[str] = Counter(judgments=len(judgments))
    flagged, limit = flagged_prompts(judgments), policy.max_characters
    votes: dict[tuple[str, str, bool], list[bool]] = defaultdict(list)
    messages = {}
    for row in judgments:
        reason, vote = left_out(row, flagged), _vote(row)
        if reason is not None or vote is None:
            counts[reason or ("middling" if row.choice == "rated" else row.choice)] += 1
            continue
        counts["up" if vote else "down"] += 1
        (shown,) = row.candidate_ids
        text = row.texts[shown]
        ended = row.finish_reasons[shown] == "stop" and len(text) <= limit
        votes[row.prompt_sha256, text[:limit], ended].append(vote)
        messages[row.prompt_sha256] = tuple(row.messages)
    made = []
    for (prompt_sha256, text, ended), cast in votes.items():
        up, down = cast.count(True), cast.count(False)
        if up == down:
            counts["conflict"] += 1
        else:
            made.append(ThumbRow(prompt_sha256, messages[prompt_sha256], text, ended, up > down, up, down))
    rows = by_content(made)
    counts["thumbs"] = len(rows)
    return Rows(rows, sorted(row.judgment_id for row in judgments), dict(sorted(counts.items())))


def _vote(row: JudgmentRow) -> bool | None:
    """Whether the answer was found good; None where nothing was said about one answer, or nothing clear."""
    if row.choice in ("up", "down"):
        return row.choice == "up"
    if row.choice != "rated" or not row.ratings:
        return None
    rating = mean(row.ratings.values())
    return True if rating >= GOOD else False if rating <= BAD else None
