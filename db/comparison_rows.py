"""The rows of comparisons: what makes two of them the same question, and how they are stored."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, insert, select
from sqlalchemy.orm import Session

from . import clock, places
from .hashing import canonical_json, sha256_text
from .tables import Comparison, ComparisonCandidate, Prompt
from .upsert import upsert
from .words import Purpose


@dataclass(frozen=True, slots=True)
class Created:
    """The row of a comparison; `created` is False when it was there already."""

    id: int
    created: bool


@dataclass(frozen=True, slots=True)
class NewComparison:
    """A comparison to store."""

    queue_id: int
    prompt_id: int
    candidate_ids: Sequence[int]
    overlap: int = 1
    purpose: Purpose = "train"
    rank: int = 0
    round_id: int | None = None
    repeats_id: int | None = None
    gold_candidate_id: int | None = None
    annotator_id: int | None = None  # whom a repeat is for: others may be asked it again as well

    @property
    def key(self) -> str:
        """Equal for the same question to the same people, whatever the order of the candidates."""
        told_by = [self.queue_id, self.prompt_id, self.purpose, sorted(self.candidate_ids)]
        return sha256_text(canonical_json([*told_by, self.repeats_id, self.annotator_id]))


def store(session: Session, wanted: Sequence[NewComparison]) -> list[Created]:
    """Store comparisons, and tell which are new; one that is there already is left as it is."""
    by_key = {comparison.key: comparison for comparison in wanted}
    if not by_key:
        return []
    statement = upsert(session, Comparison).on_conflict_do_nothing(index_elements=["key"])
    made = session.execute(
        statement.returning(Comparison.key, Comparison.id),
        [_values(key, comparison) for key, comparison in by_key.items()],
    )
    new = {key: comparison_id for key, comparison_id in made}
    shown = [
        {"comparison_id": comparison_id, "position": position, "candidate_id": candidate_id, "prompt_id": prompt_id}
        for key, comparison_id in new.items()
        for prompt_id in [by_key[key].prompt_id]
        for position, candidate_id in enumerate(by_key[key].candidate_ids)
    ]
    if shown:
        session.execute(insert(ComparisonCandidate), shown)
    old = set(by_key) - set(new)
    stored = select(Comparison.key, Comparison.id).where(Comparison.key.in_(old))
    ids = new | {key: comparison_id for key, comparison_id in session.execute(stored)}
    return [Created(ids[comparison.key], comparison.key in new) for comparison in wanted]


def fresh(session: Session, wanted: Sequence[NewComparison]) -> list[NewComparison]:
    """Those of the comparisons that are not stored yet."""
    known = select(Comparison.key).where(Comparison.key.in_([comparison.key for comparison in wanted]))
    stored = set(session.scalars(known))
    return [comparison for comparison in wanted if comparison.key not in stored]


def in_use() -> ColumnElement[bool]:
    """The prompt of the enclosing query's comparison is not retired; for a search: it looks at one after another."""
    return ~exists().where(Prompt.id == Comparison.prompt_id, Prompt.retired_at.is_not(None))


def is_retired() -> ColumnElement[bool]:
    """The prompt is retired; for counts: it begins with the retired prompts, which are few."""
    return Comparison.prompt_id.in_(select(Prompt.id).where(Prompt.retired_at.is_not(None)))


def _values(key: str, comparison: NewComparison) -> dict[str, object]:
    free = comparison.overlap if comparison.purpose in places.COUNTED else 0
    return {
        "queue_id": comparison.queue_id,
        "prompt_id": comparison.prompt_id,
        "purpose": comparison.purpose,
        "key": key,
        "overlap": comparison.overlap,
        "rank": comparison.rank,
        "round_id": comparison.round_id,
        "repeats_id": comparison.repeats_id,
        "gold_candidate_id": comparison.gold_candidate_id,
        "free_human": free,
        "free_simulated": free,
        "created_at": clock.now(),
    }
