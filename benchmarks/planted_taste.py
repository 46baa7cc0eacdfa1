"""How well does the loop recover a taste that is known? Three rounds of judgments by simulated annotators.

A cell is a taste and a seed. It runs the product's own loop with the product's default settings in a workspace of its
own, and its result is kept: an interrupted benchmark goes on where it was, and a finished one only prints its table.

    python benchmarks/planted_taste.py                      all cells
    python benchmarks/planted_taste.py --cell warm:0        one cell
    python benchmarks/planted_taste.py --cell warm:0 --trainer ppo --trainer rloo
                                                            after the cell's rounds, one round of each trainer from the
                                                            base, against the last reward model (its exam is not asked
                                                            for)

The figure is the win rate against the base on held-out prompts, by the clean taste (no flips), ties half.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path

from pipeline.environment import prepare

prepare()

from rich.console import Console
from rich.table import Table

from db import prompts, runs, versions
from db.engine import reading, writing
from pipeline import import_prompts, workspace
from pipeline.compare import compare
from pipeline.context import Context, code_version
from pipeline.loop import run_round
from pipeline.train_by_reward import train_online_version, train_ppo_version

CELLS = ["concise:0", "structured:0", "warm:0", "concise:1", "concise:2"]
ROUNDS = 3
MOST_JUDGMENTS = 120  # in a round
Trainer = Literal["ppo", "rloo", "grpo"]
console = Console()


def opened(cell: str, out: Path) -> Context:
    """The cell's workspace with the built-in prompts, as it was left."""
    taste, seed = cell.split(":")
    root = out / f"workspace-{taste}-{seed}"
    root.mkdir(parents=True, exist_ok=True)
    shared_cache = out / "model-cache"
    shared_cache.mkdir(exist_ok=True)
    if not (root / "cache").exists():
        (root / "cache").symlink_to(shared_cache)
    os.environ["PREFLOOP_SEED"] = seed
    os.environ["PREFLOOP_SIMULATE__TASTE"] = taste
    made = workspace.init(root)
    assert made.settings.label.prompts_per_round <= MOST_JUDGMENTS
    assert made.settings.simulate.flip_share == 0.15
    engine = made.open_store()
    with writing(engine) as session:
        items = import_prompts.builtin().items
        prompts.add_many(session, items, heldout_share=made.settings.prompts.heldout_share, actor="benchmark")
    return Context(made, engine, console, actor="benchmark")


def run_cell(cell: str, out: Path) -> dict[str, Any]:
    """The three rounds of one cell; what is finished is read."""
    result_file = out / f"{cell.replace(':', '-')}.json"
    if result_file.exists():
        kept: dict[str, Any] = json.loads(result_file.read_text())
        return kept
    ctx = opened(cell, out)
    started = time.monotonic()
    rounds = [run_round(ctx, "planted-taste", number, "simulated") for number in range(1, ROUNDS + 1)]
    ctx.engine.dispose()
    result = {
        "cell": cell,
        "rounds": rounds,
        "seconds": round(time.monotonic() - started),
        "code_version": code_version(),
        "settings": ctx.workspace.settings.model_dump(exclude={"store_url"}),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    draft = result_file.with_suffix(".partial")
    draft.write_text(json.dumps(result, indent=2))
    draft.rename(result_file)
    return result


def run_trainers(cell: str, trainers: list[Trainer], out: Path) -> Table:
    """Each trainer from the base, against the reward model of all the cell's judgments, beside the loop's version."""
    last = run_cell(cell, out)["rounds"][-1]
    ctx = opened(cell, out)
    with reading(ctx.engine) as session:
        reward = versions.by_name(session, last["reward_model"])
        policies = {f"dpo, {ROUNDS} rounds": versions.by_name(session, last["version"])}
    base, judge = ctx.base_version(), f"taste:{cell.split(':')[0]}"
    for trainer in trainers:
        if trainer == "ppo":
            policies[trainer] = train_ppo_version(ctx, base, reward, second_judge=judge, accept_failed_exam=True)
        else:
            policies[trainer] = train_online_version(
                ctx, trainer, base, reward, second_judge=judge, accept_failed_exam=True
            )
    shown = Table("trainer", "version", "win rate vs base [95 %]", "tokens", "ended", "KL", "parted at", title=cell)
    for name, policy in policies.items():
        _, report = compare(ctx, policy, base, [judge])
        rate, facts = report["judges"][judge], report["versions"][policy.name]
        assert policy.run_id is not None, "a trained version has its run"
        with reading(ctx.engine) as session:
            run_summary = runs.get(session, policy.run_id).summary or {}
        shown.add_row(
            name,
            policy.name,
            f"{rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]",
            f"{facts['mean_tokens']:.0f}",
            f"{facts['ended']:.0%}",
            f"{facts['kl_to_base']:.1f}",
            str(run_summary.get("parted_at") or "–"),
        )
    ctx.engine.dispose()
    return shown


def table(results: list[dict[str, Any]]) -> Table:
    shown = Table("taste:seed", "round", "judgments", "pairs", "reward acc.", "win rate vs base [95 %]", "tokens", "KL")
    for result in results:
        for row in result["rounds"]:
            rate = row["against_base"][row["judge"]]
            shown.add_row(
                result["cell"],
                f"{row['round']}{'' if row['promoted'] else ' (kept parent)'}",
                str(row["judgments"]),
                str(row["pairs"]),
                f"{row['reward_accuracy']:.0%} of {row['reward_heldout_pairs']}",
                f"{rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]",
                f"{row['mean_tokens']:.0f} ({row['base_mean_tokens']:.0f})",
                f"{row['kl_to_base']:.1f}",
            )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", action="append", choices=CELLS, help="only this one; may be repeated")
    parser.add_argument(
        "--trainer", action="append", choices=["ppo", "rloo", "grpo"], help="one round with this trainer, too"
    )
    default = user_cache_path("prefloop") / "benchmarks" / "planted_taste"
    parser.add_argument("--out", type=Path, default=default, help="folder of results and workspaces")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = []
    for cell in arguments.cell or CELLS:
        console.rule(cell)
        if arguments.trainer:
            console.print(run_trainers(cell, arguments.trainer, arguments.out))
            continue
        results.append(run_cell(cell, arguments.out))
        console.print(table(results))


if __name__ == "__main__":
    main()
