"""How long does an annotator wait for the store? Next question and submit, with few annotators and with many.

The annotators are threads of one process, as in the labeling UI's server, and act through the functions that it calls:
each asks for a question in a transaction of its own, and submits its answer in another. Half of the comparisons have
been judged before, by the same annotators, so that everybody has a long history. The store is as durable as ever.

    python benchmarks/labeling.py                                       SQLite
    python benchmarks/labeling.py --store-url postgresql://user@host/postgres
                                        PostgreSQL too; databases of the benchmark's own are made there, and kept

Two figures a cell: loops (a question and a submit) in a second, when nobody thinks; and the milliseconds of question
and submit together, when everybody thinks for 2 to 4 seconds between them. Goal: p95 ≤ 25 ms at 20 annotators, the same
with a million comparisons as with 10 thousand.

At the end the storm of tests/storm.py with 5,000 comparisons: four processes, two killed, nothing lost or given twice.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import combinations, islice
from os import getloadavg
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
import storm
from platformdirs import user_cache_path
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, create_engine, func, insert, make_url, select, text, update
from sqlalchemy import Table as TableOfRows

from db import annotators, clock, comparisons, judgments, queues, versions
from db.columns import Base
from db.engine import open_store, reading, writing
from db.hashing import canonical_json, sha256_text
from db.judgments import Said
from db.tables import Annotator, Assignment, Candidate, Comparison, ComparisonCandidate, Judgment, Prompt

CREW = 20
ANNOTATORS = (1, 5, 20)
SIZES = (10_000, 1_000_000)  # comparisons
THINKING = (2.0, 4.0)  # seconds between a question and its answer
FLAT_OUT_SECONDS = 3.0
STORM = 5_000  # comparisons
_TEXTS = 15  # candidates a prompt: 105 pairs
_LOT = 20_000  # rows a statement
console = Console()


def fill(engine: Engine, count: int) -> None:
    """A store with `count` comparisons of pairs, of overlap 1 and 2 in turns; the first half of them is judged."""
    with writing(engine) as session:
        queue_id = queues.create(session, "benchmark").id
        base_id = versions.ensure_base(session, "none", "0" * 64).id
        crew = [annotators.ensure(session, f"annotator {number}", "human").id for number in range(CREW)]
        pairs = list(combinations(range(_TEXTS), 2))
        tables: dict[type[Base], Iterator[dict[str, object]]] = {
            Prompt: map(_prompt, range(1, count // len(pairs) + 2)),
            Candidate: (_candidate(number, base_id) for number in range(1, (count // len(pairs) + 1) * _TEXTS + 1)),
            Comparison: (_comparison(number, queue_id, count, len(pairs)) for number in range(1, count + 1)),
            ComparisonCandidate: (row for number in range(1, count + 1) for row in _shown(number, pairs)),
            Assignment: (
                {
                    "id": number,
                    "comparison_id": number,
                    "annotator_id": crew[number % CREW],
                    "display_order": _sides(number, pairs),
                    "state": "done",
                    "leased_at": _ONCE,
                    "expires_at": _ONCE,
                }
                for number in range(1, count // 2 + 1)
            ),
            Judgment: (
                {"id": number, "assignment_id": number, "choice": "tie", "rationale": "", "created_at": _ONCE}
                for number in range(1, count // 2 + 1)
            ),
        }
        for table, rows in tables.items():
            while lot := list(islice(rows, _LOT)):
                session.execute(insert(cast(TableOfRows, table.__table__)), lot)
            if engine.dialect.name == "postgresql" and table is not ComparisonCandidate:
                name = table.__tablename__
                session.execute(text(f"SELECT setval('{name}_id_seq', (SELECT max(id) FROM {name}))"))
        done = select(func.count()).where(Assignment.annotator_id == Annotator.id).scalar_subquery()
        session.execute(update(cast(TableOfRows, Annotator.__table__)).values(judged=done))
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")  # as the server does by itself, a little later


_ONCE = clock.now() - timedelta(days=30)


def _prompt(number: int) -> dict[str, object]:
    messages = [{"role": "user", "content": f"Question {number}: what is it good for?"}]
    return {
        "id": number,
        "sha256": sha256_text(canonical_json(messages)),
        "messages": messages,
        "category": "",
        "source": "",
        "split": "train",
        "created_at": _ONCE,
    }


def _candidate(number: int, version_id: int) -> dict[str, object]:
    return {
        "id": number,
        "prompt_id": (number - 1) // _TEXTS + 1,
        "version_id": version_id,
        "sampling": {},
        "sampling_sha256": "0" * 64,
        "seed": 0,
        "sample_index": number % _TEXTS,
        "text": f"Answer {number}. " + "It depends on what you want to do with it. " * 8,
        "token_count": 80,
        "finish_reason": "stop",
        "logprob_sum": -100.0,
        "created_at": _ONCE,
    }


def _comparison(number: int, queue_id: int, count: int, pairs: int) -> dict[str, object]:
    overlap = 1 + number % 2
    return {
        "id": number,
        "queue_id": queue_id,
        "prompt_id": (number - 1) // pairs + 1,
        "purpose": "train",
        "key": f"{number:064x}",
        "overlap": 1 if number <= count // 2 else overlap,
        "rank": 0,
        "free_human": 0 if number <= count // 2 else overlap,
        "free_simulated": overlap,
        "created_at": _ONCE,
    }


def _sides(number: int, pairs: list[tuple[int, int]]) -> list[int]:
    prompt, pair = divmod(number - 1, len(pairs))
    return [prompt * _TEXTS + text_number + 1 for text_number in pairs[pair]]


def _shown(number: int, pairs: list[tuple[int, int]]) -> list[dict[str, object]]:
    prompt_id = (number - 1) // len(pairs) + 1
    return [
        {"comparison_id": number, "position": position, "candidate_id": candidate_id, "prompt_id": prompt_id}
        for position, candidate_id in enumerate(_sides(number, pairs))
    ]


def label(engine: Engine, crew: list[int], seconds: float, think: tuple[float, float] | None) -> list[float]:
    """The milliseconds of question and submit together, of every loop that the crew does in that time."""
    took: list[float] = []
    until = time.monotonic() + seconds

    def annotate(annotator_id: int) -> None:
        rng = random.Random(annotator_id)
        if think:
            time.sleep(rng.uniform(0, think[1]))  # people do not start at once
        while time.monotonic() < until:
            started = time.perf_counter()
            with writing(engine, durable=False) as session:
                task = comparisons.next_assignment(session, annotator_id)
            asked = time.perf_counter()
            assert task is not None, "the store has run out of comparisons"
            if think:
                time.sleep(rng.uniform(*think))
            answered = time.perf_counter()
            with writing(engine) as session:
                judgments.submit(session, task.assignment_id, annotator_id, Said(rng.choice(("left", "right", "tie"))))
            took.append(1000 * (asked - started + time.perf_counter() - answered))

    threads = [threading.Thread(target=annotate, args=(annotator_id,)) for annotator_id in crew]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def prepared(url: str, count: int) -> Engine:
    """The store at the URL, filled if it is not yet."""
    engine = open_store(url)
    with reading(engine) as session:
        empty = session.scalar(select(Comparison.id).limit(1)) is None
    if empty:
        started = time.monotonic()
        fill(engine, count)
        console.print(f"made {count:,} comparisons in {time.monotonic() - started:.0f} s")
    return engine


def stores(out: Path, server: str | None) -> Iterator[tuple[str, int, str]]:
    """(engine, comparisons, URL) of every store to measure. The small ones are made anew, for they are used up."""
    for count in SIZES:
        file = out / f"labeling-{count}.db"
        if count == min(SIZES):
            for stale in out.glob(f"{file.name}*"):
                stale.unlink()
        yield "SQLite", count, f"sqlite:///{file}"
    if server is not None:
        for count in SIZES:
            yield "PostgreSQL", count, database(server, f"prefloop_benchmark_{count}", anew=count == min(SIZES))


def database(server: str, name: str, anew: bool) -> str:
    """The URL of a database of that name on the server, made if it is not there."""
    admin = create_engine(make_url(server), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        if anew:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        if not connection.scalar(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}):
            connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def measured(name: str, count: int, url: str, seconds: float) -> Iterator[list[str]]:
    """The cells of one store, as rows of the table."""
    engine = prepared(url, count)
    with reading(engine) as session:
        crew = [annotator.id for annotator in annotators.list_annotators(session)]
    for size in ANNOTATORS:
        flat_out = len(label(engine, crew[:size], FLAT_OUT_SECONDS, None)) / FLAT_OUT_SECONDS
        took = label(engine, crew[:size], seconds, THINKING)
        p50, p95, p99 = (f"{milliseconds:.1f}" for milliseconds in np.percentile(took, (50, 95, 99)))
        yield [
            name,
            f"{count:,}",
            f"{size}",
            f"{flat_out:.0f}",
            p50,
            p95,
            p99,
            f"{len(took)}",
            f"{getloadavg()[0]:.1f}",
        ]
    engine.dispose()


def stormed(out: Path, server: str | None) -> Iterator[tuple[str, storm.Aftermath]]:
    """What a storm leaves of a new store, by the engine."""
    with TemporaryDirectory(dir=out) as folder:
        urls = {"SQLite": f"sqlite:///{folder}/store.db"}
        if server is not None:
            urls["PostgreSQL"] = database(server, "prefloop_benchmark_storm", anew=True)
        for name, url in urls.items():
            ledgers = Path(folder) / name
            ledgers.mkdir()
            engine = open_store(url)
            storm.prepare(engine, STORM)
            yield name, storm.rage(url, engine, STORM, ledgers)
            engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store-url", help="a database on a PostgreSQL server, by a role that may make others")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a cell in which people think")
    parser.add_argument("--out", type=Path, default=user_cache_path("prefloop") / "benchmarks" / "labeling")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    headings = ("store", "comparisons", "annotators", "loops/s flat out", "p50 ms", "p95", "p99", "loops", "load")
    shown = Table(*headings)
    for name, count, url in stores(arguments.out, arguments.store_url):
        for row in measured(name, count, url, arguments.seconds):
            shown.add_row(*row)
            console.print(" ".join(row))
    console.print(shown)
    for name, left in stormed(arguments.out, arguments.store_url):
        console.print(f"storm of {STORM:,} on {name}: {left}")


if __name__ == "__main__":
    main()
