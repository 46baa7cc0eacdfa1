"""Candidates: what a version completed, with the sampling settings and seed that produced it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from .columns import JsonObject
from .errors import StoreError
from .hashing import canonical_json, sha256_text
from .tables import Candidate
from .upsert import lots, upsert
from .words import FinishReason


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion to store."""

    prompt_id: int
    sample_index: int  # 0, 1, … within the prompt
    text: str
    token_count: int  # tokens, completion only
    finish_reason: FinishReason
    logprob_sum: float  # nats, over the completion's tokens


def sampling_key(sampling: JsonObject) -> str:
    """The sha256 of the sampling settings: equal settings have equal keys, whatever the order of their names."""
    return sha256_text(canonical_json(sampling))


def existing(
    session: Session, version_id: int, sampling: JsonObject, seed: int, prompt_ids: Sequence[int]
) -> set[tuple[int, int]]:
    """The (prompt_id, sample_index) pairs that need not be generated again."""
    pairs = select(Candidate.prompt_id, Candidate.sample_index).where(_drawn(version_id, sampling, seed))
    return {
        (prompt_id, sample_index)
        for lot in lots(prompt_ids)
        for prompt_id, sample_index in session.execute(pairs.where(Candidate.prompt_id.in_(lot)))
    }


def store(session: Session, version_id: int, sampling: JsonObject, seed: int, completions: Sequence[Completion]) -> int:
    """Store completions and return how many are new; one that is there already is left as it is.

    StoreError for a log-probability that is not finite: the model that gave it is broken.
    """
    key = sampling_key(sampling)
    rows = []
    for completion in completions:
        if not math.isfinite(completion.logprob_sum):
            raise StoreError(
                f"prompt {completion.prompt_id}, sample {completion.sample_index}: the log-probability is "
                f"{completion.logprob_sum}; check the model's weights and its number format"
            )
        rows.append(
            {**asdict(completion), "version_id": version_id, "sampling": sampling, "sampling_sha256": key, "seed": seed}
        )
    if not rows:
        return 0
    statement = upsert(session, Candidate).on_conflict_do_nothing(
        index_elements=["prompt_id", "version_id", "sampling_sha256", "seed", "sample_index"]
    )
    return len(session.scalars(statement.returning(Candidate.id), rows).all())


def of_version(
    session: Session, version_id: int, sampling: JsonObject, seed: int, prompt_ids: Sequence[int]
) -> list[Candidate]:
    """The candidates of these prompts, ordered by (prompt_id, sample_index)."""
    query = select(Candidate).where(_drawn(version_id, sampling, seed))
    found = [row for lot in lots(prompt_ids) for row in session.scalars(query.where(Candidate.prompt_id.in_(lot)))]
    return sorted(found, key=lambda candidate: (candidate.prompt_id, candidate.sample_index))


def by_ids(session: Session, ids: Sequence[int]) -> dict[int, Candidate]:
    """These candidates, by id; one that is not there is left out."""
    query = select(Candidate)
    found = [row for lot in lots(sorted(set(ids))) for row in session.scalars(query.where(Candidate.id.in_(lot)))]
    return {candidate.id: candidate for candidate in found}


def _drawn(version_id: int, sampling: JsonObject, seed: int) -> ColumnElement[bool]:
    return and_(
        Candidate.version_id == version_id,
        Candidate.sampling_sha256 == sampling_key(sampling),
        Candidate.seed == seed,
    )
