"""How well does the loop recover a taste that is known? Three rounds of judgments by simulated annotators.

A cell is a taste and a seed. It runs the product's own loop with the product's default settings in a workspace of its
own, and its result is kept: an interrupted benchmark goes on where it was, and a finished one only prints its table.

    python benchmarks/planted_taste.py                      all cells
    python benchmarks/planted_taste.py --cell warm:0        one cell

The figure is the win rate against the base on held-out prompts, by the clean taste (no flips), ties half.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from pipeline.environment import prepare

prepare()

from rich.console import Console
from rich.table import Table

from db import prompts
from db.engine import writing
from pipeline import import_prompts, workspace
from pipeline.context import Context, code_version
from pipeline.loop import run_round

CELLS = ["concise:0", "structured:0", "warm:0", "concise:1", "concise:2"]
ROUNDS = 3
MOST_JUDGMENTS = 120  # in a round
console = Console()


def run_cell(cell: str, out: Path) -> dict[str, Any]:
    """The three rounds of one cell; what is finished is read."""
    result_file = out / f"{cell.replace(':', '-')}.json"
    if result_file.exists():
        return json.loads(result_file.read_text())
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
    ctx = Context(made, engine, console, actor="benchmark")
    with writing(engine) as session:
        items = import_prompts.builtin().items
        prompts.add_many(session, items, heldout_share=made.settings.prompts.heldout_share, actor="benchmark")
    started = time.monotonic()
    rounds = [run_round(ctx, "planted-taste", number, "simulated") for number in range(1, ROUNDS + 1)]
    engine.dispose()
    result = {
        "cell": cell,
        "rounds": rounds,
        "seconds": round(time.monotonic() - started),
        "code_version": code_version(),
        "settings": made.settings.model_dump(exclude={"store_url"}),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    draft = result_file.with_suffix(".partial")
    draft.write_text(json.dumps(result, indent=2))
    draft.rename(result_file)
    return result


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
    default = user_cache_path("prefloop") / "benchmarks" / "planted_taste"
    parser.add_argument("--out", type=Path, default=default, help="folder of results and workspaces")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = []
    for cell in arguments.cell or CELLS:
        console.rule(cell)
        results.append(run_cell(cell, arguments.out))
        console.print(table(results))


if __name__ == "__main__":
    main()
