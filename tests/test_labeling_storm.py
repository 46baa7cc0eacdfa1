"""Leases under fire: processes race for them, two die by SIGKILL in the middle, and every answer is sent twice."""

from pathlib import Path

import storm
from sqlalchemy import Engine

COMPARISONS = 600  # the benchmark does the same with 5,000


def test_a_storm_of_processes_loses_nothing_and_assigns_nothing_twice(
    store_url: str, engine: Engine, tmp_path: Path
) -> None:
    ledgers = tmp_path / "ledgers"
    ledgers.mkdir()
    storm.prepare(engine, COMPARISONS)
    left = storm.rage(store_url, engine, COMPARISONS, ledgers)
    assert (left.missing, left.over_assigned, left.doubled, left.unjudged) == (0, 0, 0, 0), left
    assert left.acknowledged >= 1.4 * COMPARISONS
