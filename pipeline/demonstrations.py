"""LABEL → rows for SFT: texts that people wrote, as edits of an answer or from nothing.

The policy: only prompts of the train split that nobody flagged, as in pairs.py. Every `written` judgment gives a row;
anything else is about answers that the model wrote and is counted by its choice. An edit that changes nothing after
cutting is left out (`same_text`), and a text that was written twice for one prompt stands once (`duplicate`); different
texts for one prompt all stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from db.judgments import JudgmentRow

from .pairs import RowPolicy
from .rows import Rows, by_content, flagged_prompts, left_out


@dataclass(frozen=True)
class DemonstrationRow:
    """`text` is how to answer `messages`. `ended` is False only where it was cut to the policy's length."""

    prompt_sha256: str
    messages: tuple[dict[str, str], ...]
    text: str
    ended: bool


def build(judgments: Sequence[JudgmentRow], policy: RowPolicy) -> Rows[DemonstrationRow]:
    """Demonstrations from judgments (newest of each chain), by the policy in this module's docstring."""
    counts: Counter[str] = Counter(judgments=len(judgments))
    flagged, limit = flagged_prompts(judgments), policy.max_characters
    made: dict[tuple[str, str], DemonstrationRow] = {}
    for row in sorted(judgments, key=lambda row: row.judgment_id):
        reason = left_out(row, flagged)
        if reason is not None or row.written is None:
            counts[reason or row.choice] += 1
            continue
        text = row.written[:limit]
        key = row.prompt_sha256, text
        if any(text == row.texts[shown][:limit] for shown in row.candidate_ids):
            counts["same_text"] += 1
        elif key in made:
            counts["duplicate"] += 1
        else:
            counts["edit" if row.candidate_ids else "demonstration"] += 1
            made[key] = DemonstrationRow(row.prompt_sha256, tuple(row.messages), text, len(row.written) <= limit)
    rows = by_content(list(made.values()))
    counts["demonstrations"] = len(rows)
    return Rows(rows, sorted(row.judgment_id for row in judgments), dict(sorted(counts.items())))
