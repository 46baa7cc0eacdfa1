"""Is the better version known from the worse, and is a bad one kept from becoming current?

Five versions of the embedded model whose order is known beforehand: the base, the policies of the loop's first two
rounds, and two made to be bad from the second round's pairs:

    broken    trained on and on: twenty times the learning rate, four epochs
    control   trained as usual on labels that a coin decided, so that it learned nothing that anybody wants

Every version is compared with every other by the clean planted taste. The leaderboard has to put the rounds above the
base, the control and the broken one; the gate, with its default rules, has to refuse the last two against the current
version and to say by which rules; promote, rollback and promote again have to leave their three moves in the history.

    python benchmarks/five_versions.py                 a cell of planted_taste.py: its workspace, its first two rounds
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import planted_taste
from platformdirs import user_cache_path
from rich.table import Table

from db import promotions, snapshots, versions
from db.engine import reading, writing
from db.errors import StoreError
from db.tables import Version
from pipeline import workspace
from pipeline.compare import compare
from pipeline.context import Context
from pipeline.loop import run_round
from pipeline.pairs import PreferenceRow
from pipeline.snapshot import Frozen, rebuild
from pipeline.stats.bradley_terry import fit
from pipeline.train import shared, train_dpo_version, train_version
from pipeline.train_dpo import DpoSettings, train_dpo

console = planted_taste.console
ROUNDS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", default="concise:0", choices=planted_taste.CELLS)
    default = user_cache_path("prefloop") / "benchmarks" / "planted_taste"
    parser.add_argument("--out", type=Path, default=default, help="folder of planted_taste.py's workspaces")
    arguments = parser.parse_args()
    ctx = planted_taste.opened(arguments.cell, arguments.out)
    judge = f"taste:{arguments.cell.split(':')[0]}"
    rounds = [run_round(ctx, "planted-taste", number, "simulated") for number in range(1, ROUNDS + 1)]
    with reading(ctx.engine) as session:
        first, second = (versions.by_name(session, summary["version"]) for summary in rounds)
    assert second.snapshot_id is not None, "a trained version has a snapshot"
    with reading(ctx.engine) as session:
        snapshot = snapshots.get(session, second.snapshot_id)
    taught = Frozen(snapshot, rebuild(ctx, snapshot), created=False)
    known = {
        "base": ctx.base_version(),
        "round 1": first,
        "round 2": second,
        "broken": broken(ctx, taught),
        "control": control(ctx, taught),
    }
    wins_V_V = all_against_all(ctx, known, judge)
    console.print(leaderboard(ctx, known, wins_V_V, judge))
    try_to_promote(ctx, known, judge)
    ctx.engine.dispose()


def broken(ctx: Context, taught: Frozen[PreferenceRow]) -> Version:
    """A version trained far beyond what its pairs can carry."""
    usual = ctx.workspace.settings.dpo
    os.environ["PREFLOOP_DPO__LEARNING_RATE"] = str(20 * usual.learning_rate)
    os.environ["PREFLOOP_DPO__EPOCHS"] = "4"
    try:
        harsh = replace(ctx, workspace=workspace.find(ctx.workspace.root))
        return train_dpo_version(harsh, taught, ctx.base_version())
    finally:
        del os.environ["PREFLOOP_DPO__LEARNING_RATE"], os.environ["PREFLOOP_DPO__EPOCHS"]


def control(ctx: Context, taught: Frozen[PreferenceRow]) -> Version:
    """A version trained as usual, on pairs whose label a coin decided; its run says so."""
    coin = random.Random(0)
    rows = [swapped(row) if coin.random() < 0.5 else row for row in taught.rows]
    settings = DpoSettings(**ctx.workspace.settings.dpo.model_dump(), **shared(ctx))
    base = ctx.base_version()

    def work(run: Any, on_metrics: Any) -> Any:
        return train_dpo(rows, settings, ctx.base.folder, None, run.folder / "adapter", 0, on_metrics)

    config = {**asdict(settings), "labels": "shuffled"}
    return train_version(ctx, "dpo", config, 0, taught.snapshot, {"pairs": len(rows)}, base, None, work)


def swapped(row: PreferenceRow) -> PreferenceRow:
    return replace(
        row,
        chosen=row.rejected,
        rejected=row.chosen,
        chosen_ended=row.rejected_ended,
        rejected_ended=row.chosen_ended,
    )


def all_against_all(ctx: Context, known: dict[str, Version], judge: str) -> Any:
    """[i, j]: comparisons that version i won against version j, a tie half to each."""
    wins_V_V = np.zeros((len(known), len(known)))
    for (i, a), (j, b) in combinations(enumerate(known.values()), 2):
        _, report = compare(ctx, a, b, [judge])
        rate = report["judges"][judge]
        wins_V_V[i, j] = rate["wins"] + rate["ties"] / 2
        wins_V_V[j, i] = rate["losses"] + rate["ties"] / 2
    return wins_V_V


def leaderboard(ctx: Context, known: dict[str, Version], wins_V_V: Any, judge: str) -> Table:
    """The versions by their Bradley-Terry scores. Raises AssertionError if they are not in the order that is known."""
    names, board = list(known), fit(wins_V_V)
    order = sorted(range(len(names)), key=lambda index: -board.score_V[index])
    shown = Table("rank", "version", "score [95 %]", "win rate vs base", "tokens", "KL", "repetition", title=judge)
    base = known["base"]
    for rank, index in enumerate(order, start=1):
        version = known[names[index]]
        facts: Sequence[str] = ("–", "–", "–", "–")
        if version.id != base.id:
            _, report = compare(ctx, base, version, [judge])
            of_version = report["versions"][version.name]
            facts = (
                f"{1 - report['judges'][judge]['rate']:.1%}",
                f"{of_version['mean_tokens']:.0f}",
                f"{of_version['kl_to_base']:.1f}",
                f"{of_version['repetition']:.0%}",
            )
        score = f"{board.score_V[index]:+.2f} [{board.low_V[index]:+.2f}, {board.high_V[index]:+.2f}]"
        shown.add_row(str(rank), f"{names[index]} ({version.name})", score, *facts)
    best, worst = {names[index] for index in order[:2]}, {names[index] for index in order[2:]}
    assert (best, worst) == ({"round 1", "round 2"}, {"base", "broken", "control"}), [names[i] for i in order]
    return shown


def try_to_promote(ctx: Context, known: dict[str, Version], judge: str) -> None:
    """The bad ones, which the gate must refuse; then the best one up, down and up again."""
    with reading(ctx.engine) as session:
        current = versions.current(session)
        before = len(promotions.list_moves(session))
    assert current is not None
    for name in ("broken", "control"):
        run_id, report = compare(ctx, known[name], current, [judge])
        console.rule(f"{name} ({known[name].name}) against {current.name}, current")
        for rule in report["gate"]["rules"]:
            console.print(f"{'passed' if rule['passed'] else 'FAILED'}  {rule['rule']}: {rule['words']}")
        try:
            with writing(ctx.engine) as session:
                promotions.promote_compared(session, run_id, ctx.actor)
        except StoreError as error:
            console.print(f"refused: {error}")
        else:
            raise AssertionError(f"{name} was promoted")
    with writing(ctx.engine) as session:
        versions.rollback(session, ctx.actor, "the benchmark takes it back")
        below = versions.current(session)
    assert below is not None
    run_id, report = compare(ctx, current, below, [judge])
    with writing(ctx.engine) as session:
        promotions.promote_compared(session, run_id, ctx.actor)
        versions.rollback(session, ctx.actor, "and again")
        promotions.promote_compared(session, run_id, ctx.actor)
        moves = promotions.list_moves(session)
    assert [move.kind for move in moves[before:]] == ["rollback", "promote", "rollback", "promote"]
    assert moves[-1].version == current.name
    console.rule("history")
    for move in moves:
        console.print(f"{move.kind} {move.previous or '–'} → {move.version}: {move.reason}", highlight=False)


if __name__ == "__main__":
    main()
