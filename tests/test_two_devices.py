"""Two workers on one machine: with one device they take turns, with two they train at once."""

from datetime import datetime
from pathlib import Path

import pytest
from forked import start_worker
from test_loop import context
from trickle import label, make

from db import runs
from db.engine import reading
from pipeline.orders import order
from pipeline.recipe import Recipe
from pipeline.verify import verify

TRAIN = {"dpo": {"epochs": 8, "batch_size": 64, "max_length": 96}}


@pytest.mark.parametrize(("devices", "at_once"), [(("cpu", "cpu"), False), (("cpu", "cpu:1"), True)])
def test_two_workers_train_at_once_only_on_two_devices(
    tmp_path: Path, tiny_base: Path, devices: tuple[str, str], at_once: bool
) -> None:
    root = make(tmp_path / "ws", tiny_base)
    ctx, engine = context(root)
    label(ctx, "pair", 12)
    for seed in (1, 2):
        stages = [{"stage": "snapshot"}, {"stage": "dpo", "seed": seed, "settings": TRAIN}]
        order(ctx, {"recipe": Recipe(stages=stages).as_dict()})  # type: ignore[arg-type]
    workers = [start_worker(root, device, all_runs=True) for device in devices]
    for one in workers:
        one.join()
    with reading(engine) as session:
        recipes, trained = (runs.list_runs(session, stage=stage) for stage in ("recipe", "dpo"))
        names = {str(run.device).partition(":")[2] for run in recipes}
    assert [run.state for run in (*recipes, *trained)] == ["finished"] * 4
    assert names == set(devices)

    def overlap(intervals: list[tuple[datetime, datetime]]) -> bool:
        (_, first_end), (second_begin, _) = sorted(intervals)
        return second_begin < first_end

    for both in (recipes, trained):
        assert overlap([(run.started_at, run.finished_at) for run in both]) is at_once  # type: ignore[misc]
    assert verify(ctx) == []
    engine.dispose()
