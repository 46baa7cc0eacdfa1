"""Leases under fire: processes race for them, and one dies by SIGKILL in the middle."""

import random
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, sleep

from sqlalchemy import Engine

from db import annotators, judgments
from db.comparisons import next_assignment, open_count
from db.engine import open_engine, reading, writing
from db.errors import StoreError
from db.tables import Assignment, Judgment

Ask = Callable[..., list[int]]


def test_a_race_of_processes_one_killed_loses_nothing_and_assigns_nothing_twice(
    store_url: str, engine: Engine, ask: Ask, tmp_path: Path
) -> None:
    comparisons_asked, overlap = 40, 2
    with writing(engine) as session:
        ask(session, comparisons_asked, overlap=overlap)
        crew = [annotators.ensure(session, f"person {n}", "human").id for n in range(3)]
    context = get_context("spawn")
    ledgers = [tmp_path / f"{annotator_id}.txt" for annotator_id in crew]
    labelers = [
        context.Process(target=label_until_nothing_is_owed, args=(store_url, annotator_id, ledger))
        for annotator_id, ledger in zip(crew, ledgers, strict=True)
    ]
    for labeler in labelers:
        labeler.start()
    deadline = monotonic() + 60
    while sum(len(acknowledged(ledger)) for ledger in ledgers) < 15 and monotonic() < deadline:
        sleep(0.002)
    labelers[0].kill()  # SIGKILL, wherever it is; most of the work is still to do
    for labeler in labelers:
        labeler.join(60)
    assert [labeler.exitcode for labeler in labelers] == [-9, 0, 0]

    with reading(engine) as session:
        stored = {row.id: (row.assignment_id, row.choice) for row in session.query(Judgment)}
        for ledger in ledgers:
            for judgment_id, assignment_id, choice in acknowledged(ledger):
                assert stored[judgment_id] == (assignment_id, choice), "acknowledged and lost"
        assert len({assignment_id for assignment_id, _ in stored.values()}) == len(stored)
        judged = Counter(row.comparison_id for row in session.query(Assignment).where(Assignment.state == "done"))
        assert judged.total() == len(stored)
        # The lease of the dead one ran out, and the two who live finished everything.
        assert set(judged.values()) == {overlap}
        assert len(judged) == comparisons_asked


def label_until_nothing_is_owed(url: str, annotator_id: int, ledger: Path) -> None:
    """A labeler in a process of its own: every submit is sent twice, and noted once it was acknowledged."""
    engine = open_engine(url)
    rng = random.Random(annotator_id)
    deadline = monotonic() + 45
    with ledger.open("a", buffering=1) as notes:
        while monotonic() < deadline:
            with writing(engine) as session:
                task = next_assignment(session, annotator_id, lease_seconds=1.0)
            if task is None:
                with reading(engine) as session:
                    if open_count(session) == 0:
                        break
                sleep(0.05)
                continue
            choice = rng.choice(["left", "right", "tie"])
            try:
                receipts = []
                for _ in range(2):
                    with writing(engine) as session:
                        receipts.append(judgments.submit(session, task.assignment_id, annotator_id, choice))
            except StoreError as refused:  # this machine was slow, and the place went to another
                assert "its place is taken" in str(refused)
                continue
            assert receipts[0].judgment_id == receipts[1].judgment_id
            assert not receipts[1].stored
            notes.write(f"{receipts[0].judgment_id} {task.assignment_id} {choice}\n")
    engine.dispose()


def acknowledged(ledger: Path) -> list[tuple[int, int, str]]:
    """(judgment id, assignment id, choice) of every complete line."""
    if not ledger.exists():
        return []
    lines = [line.split() for line in ledger.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [(int(judgment_id), int(assignment_id), choice) for judgment_id, assignment_id, choice in lines]
