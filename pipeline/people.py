"""COMPARE by people: what their votes come to, in the shape of a judge's entry in the report of `compare`.

The votes may be looked at after each one, and asking may stop whenever they suffice: the interval is a confidence
sequence (stats/sequential.py), which holds at every moment at once. An interval of a fixed size does not: who looks
after every vote and stops at the first "significant" one promotes many an equal version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db.evaluations import EvaluationVote

from .stats.sequential import confidence_sequence

JUDGE = "people"  # their name among the judges of a report


def evidence(votes: Sequence[EvaluationVote], confidence: float) -> dict[str, Any] | None:
    """What the votes, in order of time, say about the version that they were asked about first; None without any.

    `rate`, `low`, `high`, `comparisons` (votes and ties without asking), `prompts`, `wins`, `ties`, `losses` as of any
    judge. Beside them `votes` (given by annotators), `identical` (ties of equal texts, which nobody was asked about),
    `both_bad` (of the ties), `annotators`, `judges` (votes that a prompt is owed before it counts), `waiting` (votes on
    prompts that do not count yet), `verdict` (better, worse or undecided) and `more` (further votes that it probably
    takes; None when that cannot be said). `rate` and interval are of the prompts that count.
    """
    if not votes:
        return None
    judges = max(vote.judges for vote in votes)  # the same for all of an evaluation
    found = confidence_sequence([(vote.prompt_id, vote.outcome) for vote in votes], confidence, judges)
    outcomes = [vote.outcome for vote in votes]
    asked = [vote for vote in votes if vote.annotator_id is not None]
    return {
        "rate": found.rate,
        "low": found.low,
        "high": found.high,
        "comparisons": len(votes),
        "prompts": len({vote.prompt_id for vote in votes}),
        "wins": outcomes.count(1),
        "ties": outcomes.count(0.5),
        "losses": outcomes.count(0),
        "votes": len(asked),
        "identical": len(votes) - len(asked),
        "both_bad": sum(vote.both_bad for vote in votes),
        "annotators": len({vote.annotator_id for vote in asked}),
        "judges": judges,
        "waiting": found.waiting,
        "verdict": found.verdict,
        "more": found.more,
    }
