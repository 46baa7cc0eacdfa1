"""The search for the next question: along an index, whatever the size of the store."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

from db import annotators, comparison_rows, comparisons, drafts, judgments, labeling_sessions, queues
from db.comparison_rows import NewComparison
from db.engine import open_store, writing
from db.judgments import Said
from db.tables import Candidate

Ask = Callable[..., list[int]]
GROWING = ("comparison", "assignment", "judgment", "comparison_candidate", "candidate", "prompt", "draft")


def many(session: Session, ask: Ask, prompts: int) -> int:
    """Every pair of eight candidates of so many prompts is asked about, twice; an annotator to ask."""
    ask(session, prompts, each=8)
    queue_id = queues.create(session, "many", overlap=2, priority=1, repeat_share=0.1, gold_share=0.1).id
    by_prompt: dict[int, list[int]] = {}
    for candidate in session.query(Candidate).order_by(Candidate.id):
        by_prompt.setdefault(candidate.prompt_id, []).append(candidate.id)
    pairs = [(prompt_id, pair) for prompt_id, ids in by_prompt.items() for pair in combinations(ids, 2)]
    made = [NewComparison(queue_id, prompt_id, pair, overlap=2) for prompt_id, pair in pairs]
    first = comparison_rows.store(session, made)[0].id
    comparisons.make_gold(session, first, pairs[0][1][0])
    return annotators.ensure(session, "ann", "human").id


def label(engine: Engine, annotator_id: int, count: int) -> None:
    """All that the labeling page does, so many times."""
    with writing(engine) as session:
        sitting = labeling_sessions.start(session, annotator_id, "count", count).id
    for _ in range(count):
        with writing(engine) as session:
            task = comparisons.next_assignment(session, annotator_id)
            assert task is not None
        with writing(engine) as session:
            comparisons.next_assignment(session, annotator_id)  # their own again, as after a reload
            drafts.save(session, task.assignment_id, annotator_id, {"rationale": "I thi"})
            comparisons.renew(session, task.assignment_id, annotator_id)
        for _ in range(2):
            with writing(engine) as session:
                given = judgments.submit(session, task.assignment_id, annotator_id, Said("left"))
        with writing(engine) as session:
            judgments.correct(session, given.judgment_id, annotator_id, Said("right"))
            judgments.last_of(session, annotator_id)
            labeling_sessions.summary(session, sitting)


@contextmanager
def recording(engine: Engine) -> Iterator[dict[str, Any]]:
    """The statements that are executed meanwhile, with the parameters of the last time."""
    executed: dict[str, Any] = {}

    def record(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            executed[statement] = parameters

    event.listen(engine, "before_cursor_execute", record)
    yield executed
    event.remove(engine, "before_cursor_execute", record)


def plan(engine: Engine, statement: str, parameters: Any) -> str:
    """How the engine would execute the statement, one step a line."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            return "\n".join(row[3] for row in rows)
        # In a small store reading all is cheaper, and proves nothing.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        return "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters))


def test_no_statement_of_a_task_or_an_answer_reads_a_whole_table(engine: Engine, ask: Ask) -> None:
    with writing(engine) as session:
        ann = many(session, ask, 20)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
    with recording(engine) as executed:
        label(engine, ann, 25)
    plans = {statement: plan(engine, statement, parameters) for statement, parameters in executed.items()}
    assert len(plans) > 15
    for statement, steps in plans.items():
        for table in GROWING:
            assert f"SCAN {table}\n" not in steps + "\n", (statement, steps)
            assert f"Seq Scan on {table} " not in steps, (statement, steps)
    (search,) = [
        steps for statement, steps in plans.items() if "ORDER BY comparison.rank, comparison.free" in statement
    ]
    assert "ix_comparison_free_human" in search
    assert "TEMP B-TREE" not in search, "sorted instead of read in order"
    assert "Sort" not in search, "sorted instead of read in order"


def test_the_work_for_a_task_does_not_grow_with_the_store(tmp_path: Path, ask: Ask) -> None:
    # Counted in instructions of SQLite's virtual machine: exact on every machine.
    worked = []
    for prompts in (4, 40):
        engine = open_store(f"sqlite:///{tmp_path / f'{prompts}.db'}")
        with writing(engine) as session:
            ann = many(session, ask, prompts)
        with counting(engine) as instructions:
            label(engine, ann, 25)
        worked.append(instructions[0])
        engine.dispose()
    assert worked[1] < 1.2 * worked[0]


@contextmanager
def counting(engine: Engine) -> Iterator[list[int]]:
    """Counts the instructions, a hundred at a time, on the connections that are used meanwhile."""
    instructions = [0]

    def count() -> int:
        instructions[0] += 100
        return 0

    def begin(connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        raw.set_progress_handler(count, 100)

    event.listen(engine, "begin", begin)
    yield instructions
    event.remove(engine, "begin", begin)
