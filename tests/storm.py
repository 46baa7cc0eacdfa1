"""A storm of labelers: four processes of five annotators each, two killed by SIGKILL, and every answer sent twice.

Used by the test with a thousand comparisons and by the benchmark with five thousand.
"""

import random
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic, sleep

from sqlalchemy import Engine, func, select

from db import annotators, candidates, comparison_rows, comparisons, judgments, prompts, queues, versions
from db.comparison_rows import NewComparison
from db.engine import open_engine, reading, writing
from db.errors import StoreError
from db.judgments import Said
from db.tables import Assignment, Comparison, Judgment

PROCESSES, EACH = 4, 5  # processes, and annotators of a process
LEASE = 5.0  # seconds: those of the dead must run out while the others are still at work
LONGEST = 600.0  # seconds, before something must be wrong
_TEXTS = 16  # candidates of a prompt: 120 pairs


@dataclass(frozen=True)
class Aftermath:
    """What is left of a storm."""

    acknowledged: int
    missing: int  # acknowledged, and not stored as it was said
    over_assigned: int  # comparisons with more judgments than were wanted
    unjudged: int  # comparisons with fewer
    doubled: int  # second first judgments of an assignment, or of an annotator about a comparison
    seconds: float


def prepare(engine: Engine, count: int) -> None:
    """So many comparisons, of overlap 1 and 2 in turns, and the annotators."""
    with writing(engine) as session:
        queue_id = queues.create(session, "storm").id
        base_id = versions.ensure_base(session, "none", "0" * 64).id
        for number in range(PROCESSES * EACH):
            annotators.ensure(session, f"annotator {number}", "human")
        asked: list[NewComparison] = []
        while len(asked) < count:
            prompt_id = prompts.add(session, [{"role": "user", "content": f"question {len(asked)}"}]).id
            texts = [candidates.Completion(prompt_id, n, f"answer {n}", 2, "stop", -1.0) for n in range(_TEXTS)]
            candidates.store(session, base_id, {}, 0, texts)
            ids = [candidate.id for candidate in candidates.of_version(session, base_id, {}, 0, [prompt_id])]
            asked += [
                NewComparison(queue_id, prompt_id, pair, 1 + n % 2) for n, pair in enumerate(combinations(ids, 2))
            ]
        comparison_rows.store(session, asked[:count])


def rage(url: str, engine: Engine, count: int, folder: Path) -> Aftermath:
    """Label everything. The first process dies early and is started again; the second dies later and is not."""
    started = monotonic()
    with reading(engine) as session:
        crew = [annotator.id for annotator in annotators.list_annotators(session)]
    context = get_context("spawn")

    def start(number: int, life: int) -> BaseProcess:
        arguments = (url, crew[number::PROCESSES], folder / f"{number}-{life}.txt")
        process = context.Process(target=label_until_nothing_is_owed, args=arguments)
        process.start()
        return process

    labelers = [start(number, 0) for number in range(PROCESSES)]
    for victim, share in ((0, 0.2), (1, 0.4)):
        while len(_acknowledged(folder)) < share * count:
            assert monotonic() - started < LONGEST, "the storm does not get on"
            sleep(0.05)
        labelers[victim].kill()  # SIGKILL, wherever it is
        labelers[victim].join()
        assert labelers[victim].exitcode == -9, "it was over before the storm began"
    labelers[0] = start(0, 1)
    for number in (0, 2, 3):
        labelers[number].join(LONGEST)
        assert labelers[number].exitcode == 0
    return _aftermath(engine, folder, monotonic() - started)


def label_until_nothing_is_owed(url: str, crew: list[int], ledger: Path) -> None:
    """Five annotators in one process: all are given a task, then all answer, twice; what was acknowledged is noted."""
    engine = open_engine(url)
    rng = random.Random(f"{ledger.name}")
    idle = 0
    with ledger.open("a", buffering=1) as notes:
        while idle < 3:
            tasks = {}
            for annotator_id in crew:
                with writing(engine) as session:
                    task = comparisons.next_assignment(session, annotator_id, lease_seconds=LEASE)
                if task is not None:
                    tasks[annotator_id] = task
            for annotator_id, task in tasks.items():
                said = Said(rng.choice(("left", "right", "tie")))
                try:
                    receipts = []
                    for _ in range(2):
                        with writing(engine) as session:
                            receipts.append(judgments.submit(session, task.assignment_id, annotator_id, said))
                except StoreError as refused:  # this machine was slow, and the place went to another
                    assert "its place is taken" in str(refused)
                    continue
                assert receipts[0].judgment_id == receipts[1].judgment_id
                assert not receipts[1].stored
                notes.write(f"{receipts[0].judgment_id} {task.assignment_id} {said.choice}\n")
            if not tasks:
                with reading(engine) as session:
                    idle += comparisons.open_count(session) == 0
                sleep(0.1)
    engine.dispose()


def _acknowledged(folder: Path) -> list[tuple[int, int, str]]:
    """(judgment id, assignment id, choice) of every complete line of every ledger."""
    lines = [line for ledger in folder.glob("*.txt") for line in ledger.read_text().splitlines(keepends=True)]
    found = [line.split() for line in lines if line.endswith("\n")]
    return [(int(judgment_id), int(assignment_id), choice) for judgment_id, assignment_id, choice in found]


def _aftermath(engine: Engine, folder: Path, seconds: float) -> Aftermath:
    told = _acknowledged(folder)
    with reading(engine) as session:
        stored = {row.id: (row.assignment_id, row.choice) for row in session.query(Judgment)}
        pairs = Counter(session.execute(select(Assignment.comparison_id, Assignment.annotator_id)).tuples().all())
        done = select(Assignment.comparison_id, func.count()).where(Assignment.state == "done")
        judged = {of: count for of, count in session.execute(done.group_by(Assignment.comparison_id))}
        wanted = {of: overlap for of, overlap in session.execute(select(Comparison.id, Comparison.overlap))}
        free = select(func.count()).where(Comparison.free_human != 0)
        assert session.scalars(free).one() == 0, "free places are left"
    return Aftermath(
        acknowledged=len(told),
        missing=sum(stored.get(judgment_id) != (assignment_id, choice) for judgment_id, assignment_id, choice in told),
        over_assigned=sum(judged.get(of, 0) > overlap for of, overlap in wanted.items()),
        unjudged=sum(judged.get(of, 0) < overlap for of, overlap in wanted.items()),
        doubled=len(stored) - len({assignment_id for assignment_id, _ in stored.values()}) + pairs.total() - len(pairs),
        seconds=seconds,
    )
