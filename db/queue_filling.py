"""Filling a queue: comparisons made from the prompts and candidates that are in the store already."""

from collections.abc import Iterator
from itertools import groupby, islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import comparison_rows
from .comparison_rows import NewComparison
from .kinds import CANDIDATES
from .tables import Candidate, Prompt, Queue
from .words import Split

_LONGEST_RANKING = 4  # candidates: more can be ranked, but are a burden that only a caller should choose
_LOT = 1_000  # comparisons a statement


def fill(
    session: Session, queue: Queue, version_id: int | None, category: str | None, split: Split, limit: int | None
) -> int:
    """Store the comparisons that the queue does not ask yet, at most `limit`; how many are new."""
    askable = _askable(session, queue, version_id, category, split)
    made = 0
    while (limit is None or made < limit) and (lot := list(islice(askable, _LOT))):
        new = comparison_rows.fresh(session, lot)
        stored = comparison_rows.store(session, new if limit is None else new[: limit - made])
        made += sum(comparison.created for comparison in stored)
    return made


def _askable(
    session: Session, queue: Queue, version_id: int | None, category: str | None, split: Split
) -> Iterator[NewComparison]:
    """What can be asked, a comparison a prompt, by prompt id."""
    fewest, most = CANDIDATES[queue.kind]
    asked = [Prompt.split == split, Prompt.retired_at.is_(None)]
    if category is not None:
        asked.append(Prompt.category == category)
    if most == 0:
        for prompt_id in session.scalars(select(Prompt.id).where(*asked).order_by(Prompt.id)).all():
            yield NewComparison(queue.id, prompt_id, [], queue.overlap)
        return
    if version_id is not None:
        asked.append(Candidate.version_id == version_id)
    query = select(Candidate.prompt_id, Candidate.id, Candidate.text).join(Prompt, Prompt.id == Candidate.prompt_id)
    found = session.execute(query.where(*asked).order_by(Candidate.prompt_id, Candidate.id))
    for prompt_id, of_prompt in groupby(found, key=lambda row: row.prompt_id):
        first_of_text: dict[str, int] = {}
        for _, candidate_id, text in of_prompt:
            first_of_text.setdefault(text, candidate_id)
        if len(first_of_text) >= fewest:
            chosen = list(first_of_text.values())[: min(most, _LONGEST_RANKING)]
            yield NewComparison(queue.id, prompt_id, chosen, queue.overlap)
