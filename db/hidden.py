"""Hidden questions: some whose answer is known (gold), and some that the annotator answered before (repeats).

They look like any other question. A queue says what share of its tasks they are; whether an annotator is asked one now
is drawn from the annotator, the queue and how many tasks they have judged: the same history draws the same.
"""

import random
from dataclasses import dataclass

from sqlalchemy import exists, literal_column, select
from sqlalchemy.orm import Session

from . import comparison_rows, judgment_rows
from .comparison_rows import NewComparison
from .tables import Annotator, Assignment, Comparison, ComparisonCandidate, Judgment, Queue

_REST = 10  # tasks of the queue between an answer and its repeat, at least
_MEMORY = 200  # of their last tasks a repeat is looked for among so many


@dataclass(frozen=True, slots=True)
class HiddenQuestion:
    """A gold comparison or a repeat, held, and the order in which the annotator sees its candidates."""

    comparison_id: int
    display_order: list[int]


def draw(session: Session, queue: Queue, annotator: Annotator) -> HiddenQuestion | None:
    """The hidden question that the annotator is asked now; None for an ordinary one, also when there is no other."""
    if not (queue.gold_share or queue.repeat_share):
        return None
    rng = random.Random(f"{annotator.id}:{queue.id}:{annotator.judged}")
    at = rng.random()
    if at < queue.gold_share:
        return _gold(session, queue, annotator, rng)
    if at < queue.gold_share + queue.repeat_share:
        return _repeat(session, queue, annotator, rng)
    return None


def _gold(session: Session, queue: Queue, annotator: Annotator, rng: random.Random) -> HiddenQuestion | None:
    """The first gold comparison of the queue that the annotator has not had."""
    had = exists().where(Assignment.comparison_id == Comparison.id, Assignment.annotator_id == annotator.id)
    found = session.scalar(
        select(Comparison.id)
        .where(
            Comparison.queue_id == queue.id,
            Comparison.purpose == literal_column("'gold'"),  # in the words of the partial index
            Comparison.closed_at.is_(None),
            ~had,
            comparison_rows.in_use(),
        )
        .order_by(Comparison.rank, Comparison.id)
        .limit(1)
        .with_for_update(of=Comparison, key_share=True, skip_locked=True)
    )
    if found is None:
        return None
    shown = select(ComparisonCandidate.candidate_id).where(ComparisonCandidate.comparison_id == found)
    order = list(session.scalars(shown.order_by(ComparisonCandidate.position)))
    rng.shuffle(order)
    return HiddenQuestion(found, order)


def _repeat(session: Session, queue: Queue, annotator: Annotator, rng: random.Random) -> HiddenQuestion | None:
    """A new comparison that asks again what the annotator answered a while ago, in the opposite order."""
    latest = (
        select(Assignment.id, Assignment.comparison_id, Assignment.display_order, Assignment.leased_at)
        .where(Assignment.annotator_id == annotator.id, Assignment.state == "done")
        .order_by(Assignment.leased_at.desc())
        .limit(_MEMORY)
        .subquery()
    )
    earlier = (
        select(latest.c.display_order, Comparison, Judgment.choice, comparison_rows.in_use())
        .join(Comparison, Comparison.id == latest.c.comparison_id)
        .join(Judgment, Judgment.assignment_id == latest.c.id)
        .where(Comparison.queue_id == queue.id, judgment_rows.is_newest())
        .order_by(latest.c.leased_at.desc())
        .offset(_REST)
    )
    again = [
        NewComparison(
            queue_id=queue.id,
            prompt_id=asked.prompt_id,
            candidate_ids=shown[::-1],
            purpose="repeat",
            round_id=asked.round_id,
            repeats_id=asked.id,
            annotator_id=annotator.id,
        )
        for shown, asked, choice, in_use in session.execute(earlier)
        if asked.purpose == "train" and choice not in ("skip", "flag") and in_use
    ]
    fresh = comparison_rows.fresh(session, again)
    if not fresh:
        return None
    chosen = rng.choice(fresh)
    (made,) = comparison_rows.store(session, [chosen])
    return HiddenQuestion(made.id, list(chosen.candidate_ids))
