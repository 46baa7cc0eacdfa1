"""What somebody tried out: a prompt of their own, two answers side by side, and which is better.

It is evidence about versions and nothing else. The prompt is retired at birth: it is neither trained on nor among the
held-out prompts, whatever its content hash would make of it. One that was there already stays what it was. The
comparison has the purpose `evaluate`, which no snapshot reads, in a queue of its own that is paused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import candidates, clock, comparisons, judgments, places, prompts, queues, versions
from .candidates import Completion
from .columns import JsonObject, Message
from .errors import StoreError
from .judgments import Receipt, Said
from .tables import Assignment
from .words import FinishReason

SOURCE = "playground"  # of the prompts, and the name of the queue


@dataclass(frozen=True, slots=True)
class Answer:
    """What a version answered, with all that it takes to repeat it."""

    version: str
    adapter_sha256: str | None
    base_sha256: str
    text: str
    token_count: int  # tokens, completion only
    finish_reason: FinishReason
    logprob_sum: float  # nats, over the completion's tokens
    sampling: JsonObject
    seed: int


def record(
    session: Session, annotator_id: int, messages: Sequence[Message], shown: Sequence[Answer], said: Said
) -> Receipt:
    """Store the prompt, both answers, left to right as `shown`, and the judgment, in one transaction.

    A repeated call stores nothing new. StoreError for answers of one version, or of versions that are not this
    store's, and as `judgments.submit`.
    """
    if len({answer.version for answer in shown}) != 2:
        raise StoreError(f"two different versions are compared, not {[answer.version for answer in shown]}")
    added = prompts.add(session, messages, source=SOURCE, actor=SOURCE)
    if added.created:
        prompts.retire(session, added.id, actor=SOURCE)
    order = [_stored(session, added.id, answer) for answer in shown]
    queue = queues.ensure(session, SOURCE, "pair")
    if queue.paused_at is None:
        queues.pause(session, queue.id, actor=SOURCE)
    asked = comparisons.create(session, queue.id, added.id, order, "evaluate", overlap=1)
    assignment = _assignment(session, asked.id, annotator_id, order)
    receipt = judgments.submit(session, assignment.id, annotator_id, said)
    comparisons.close(session, asked.id)
    return receipt


def _stored(session: Session, prompt_id: int, answer: Answer) -> int:
    """The id of the answer as a candidate of the prompt."""
    version = versions.by_name(session, answer.version)
    if (version.adapter_sha256, version.base_sha256) != (answer.adapter_sha256, answer.base_sha256):
        raise StoreError(f"{answer.version} of the model server is not that of this store; serve this workspace")
    completion = Completion(prompt_id, 0, answer.text, answer.token_count, answer.finish_reason, answer.logprob_sum)
    candidates.store(session, version.id, answer.sampling, answer.seed, [completion])
    found = candidates.of_version(session, version.id, answer.sampling, answer.seed, [prompt_id])
    (candidate,) = [row for row in found if row.sample_index == 0]
    return candidate.id


def _assignment(session: Session, comparison_id: int, annotator_id: int, order: list[int]) -> Assignment:
    """The annotator's assignment of it, with the order that they saw. The comparison is held."""
    places.hold(session, comparison_id)
    its = Assignment.comparison_id == comparison_id, Assignment.annotator_id == annotator_id
    assignment = session.scalars(select(Assignment).where(*its)).one_or_none()
    if assignment is None:
        now = clock.now()
        ends = now + timedelta(seconds=comparisons.LEASE_SECONDS)
        assignment = Assignment(
            comparison_id=comparison_id,
            annotator_id=annotator_id,
            display_order=order,
            leased_at=now,
            expires_at=ends,
        )
        places.take(session, assignment)
    return assignment
