"""Questions for annotators, and the simulated annotators' answers to them.

A simulated annotator goes through the same doors as a person: a leased assignment with a shuffled display order, and
a submitted judgment. They are stored as kind `simulated` and never mixed into human snapshots by default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from db import annotators, comparisons, judgments, prompts, queues
from db.engine import reading, writing
from db.judgments import Said
from db.tables import Candidate, Round

from .choose_pair import most_different, widest_margin
from .context import Context
from .sections import SimulateSection
from .simulate import SimulatedAnnotator, judge, panel, response_ms


def ask(
    ctx: Context,
    candidates: Sequence[Candidate],
    round_: Round | None,
    overlap: int,
    seed: int,
    scores: dict[int, float] | None = None,
) -> int:
    """One comparison a prompt, of its two candidates that a judgment teaches most about; how many are new.

    With `scores` (a reward model's, by candidate id) those furthest apart by it, otherwise the two most different on
    the surface. `candidates` are ordered by prompt. A prompt whose candidates are all equal is not asked about.
    """
    created = 0
    with writing(ctx.engine) as session:
        queue = queues.ensure(session, queues.DEFAULT)
        for prompt_id, group in groupby(candidates, key=lambda candidate: candidate.prompt_id):
            of_prompt = list(group)
            pair = widest_margin(of_prompt, scores, seed) if scores else most_different(of_prompt, seed)
            if pair is not None:
                made = comparisons.create(
                    session,
                    queue.id,
                    prompt_id,
                    [candidate.id for candidate in pair],
                    overlap=overlap,
                    round_id=round_.id if round_ else None,
                )
                created += made.created
    return created


def simulate(
    ctx: Context, settings: SimulateSection, seed: int, round_: Round | None = None, queue: str = queues.DEFAULT
) -> Counter[str]:
    """Let the panel of simulated annotators answer all that is owed to them; how often each choice was made.

    They answer in the queue that `ask` fills, or in the one of pairs that is named. What managers ask in others is for
    people, and may be of another kind.
    """
    crew = {
        f"simulated-{settings.taste}-{number + 1}": annotator
        for number, annotator in enumerate(panel(settings.taste, settings.annotators, settings.flip_share, seed))
    }
    with writing(ctx.engine) as session:
        queue_id = queues.ensure(session, queue).id
        ids = {
            name: annotators.ensure(session, name, "simulated", taste=annotator.as_dict()).id
            for name, annotator in crew.items()
        }
    round_id = round_.id if round_ else None
    with reading(ctx.engine) as session:
        owed = comparisons.open_count(session, round_id, kind="simulated", queue_id=queue_id)
    choices: Counter[str] = Counter()
    with ctx.progress("judge (simulated)", owed, "judgments") as progress:
        idle = 0
        while idle < len(crew):  # in turns, until nobody has anything left
            for name, annotator in crew.items():
                choice = _answer_one(ctx, ids[name], annotator, queue_id, round_id, seed)
                idle = 0 if choice else idle + 1
                if choice:
                    choices[choice] += 1
                    progress.advance()
    return choices


def _answer_one(
    ctx: Context, annotator_id: int, annotator: SimulatedAnnotator, queue_id: int, round_id: int | None, seed: int
) -> str | None:
    """The annotator's choice on their next assignment in the queue, which is of pairs; None when nothing is owed."""
    with writing(ctx.engine, durable=False) as session:
        task = comparisons.next_assignment(session, annotator_id, rng_seed=seed, queue_id=queue_id, round_id=round_id)
    if task is None:
        return None
    with writing(ctx.engine) as session:
        prompt = prompts.get(session, task.prompt_id)
        finish = {c.id: c.finish_reason for c in comparisons.candidates_of(session, task.comparison_id)}
        # The key is the content, not an id of this store: the same panel judges the same texts alike everywhere.
        key = f"{prompt.sha256} {' | '.join(sorted(task.texts))}"
        left, right = ((text, finish[i]) for text, i in zip(task.texts, task.candidate_ids, strict=True))
        choice, _ = judge(annotator, key, left, right)
        said = Said(choice, response_ms=response_ms(annotator, key, task.texts))
        judgments.submit(session, task.assignment_id, annotator_id, said)
    return choice
