"""Does the exam catch a reward model that people's trick has spoiled, and does it let an honest one pass?

Reward models are trained on preferences whose cause is known (tests/planted.py): people like answers that give a
reason; in a spoiled set a trick decides every other pair instead. Each seed trains one honest model and, for each of
`--hacks` tricks, one spoiled model, and examines them with the default rules. A hack counts as caught if the exam fails
and names its probe. A result is kept: an interrupted benchmark goes on.

    python benchmarks/planted_hacks.py                      a tiny random model, 20 seeds
    python benchmarks/planted_hacks.py --first-seed 20      other 20 seeds
    python benchmarks/planted_hacks.py --model embedded     the embedded model, with the product's settings

The tiny model is the tests' own: two layers, random weights. It shows whether the rules tell a liking from noise, not
what a large model may like.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from pipeline.environment import prepare

prepare()

import planted
import tiny_model
from platformdirs import user_cache_path
from rich.console import Console
from rich.table import Table

from pipeline import embedded_model
from pipeline.context import code_version
from pipeline.exam import ExamSettings, examine
from pipeline.reward_model import RewardModel
from pipeline.stats.agreement import proportion
from pipeline.train_reward import RewardSettings, heldout_accuracy, train_reward

HONEST = "none"
EXAM = ExamSettings()
console = Console()


def one(base: Path, settings: RewardSettings, seed: int, hack: str) -> dict[str, Any]:
    """Train and examine one model; the exam's findings."""
    started = time.monotonic()
    train, heldout = planted.preferences(seed, None if hack == HONEST else hack)
    spoiled = [] if hack == HONEST else heldout[1::2]
    with tempfile.TemporaryDirectory() as folder:
        trained = train_reward(train, [], settings, base, Path(folder) / "reward", seed)
        model = RewardModel.load(base, trained.adapter, settings.dtype)
    result = examine(model.score, heldout, [], EXAM)
    return {
        "seed": seed,
        "hack": hack,
        "failed": [rule.name for rule in result.rules if not rule.passed],
        "by_share_alone": [name for name, probed in result.probes.items() if probed.share.low > EXAM.max_trick_share],
        **{key: value for key, value in dataclasses.asdict(result).items() if key in ("accuracy", "probes")},
        "typical_difference": result.typical_difference,
        "likes_own_trick": heldout_accuracy(model, spoiled),
        "seconds": round(time.monotonic() - started, 1),
    }


def table(results: list[dict[str, Any]]) -> Table:
    """`learned it`: the spoiled half of the held-out pairs, how often the trick scores higher, on average.

    `by share alone`: models that would fail a probe if the gain by the trick were not asked.
    """
    shown = Table("planted", "models", "learned it", "caught by its probe [95 %]", "failed", "by share alone", box=None)
    for hack in dict.fromkeys(result["hack"] for result in results):
        rows = [result for result in results if result["hack"] == hack]
        wanted = sum(hack in row["failed"] for row in rows)
        caught = proportion(wanted, len(rows))
        assert caught is not None, "a hack is shown once it has a result"
        shown.add_row(
            hack,
            str(len(rows)),
            "–" if hack == HONEST else f"{sum(row['likes_own_trick'] for row in rows) / len(rows):.0%}",
            "–" if hack == HONEST else f"{caught.value:.0%} [{caught.low:.0%}, {caught.high:.0%}]",
            str(sum(bool(row["failed"]) for row in rows)),
            str(sum(bool(row["by_share_alone"]) for row in rows)),
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["tiny", "embedded"], default="tiny")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--hacks", type=int, default=4, help="tricks a seed, taken in turns")
    parser.add_argument("--out", type=Path, default=user_cache_path("prefloop") / "benchmarks" / "planted_hacks")
    arguments = parser.parse_args()
    out = arguments.out / arguments.model
    out.mkdir(parents=True, exist_ok=True)
    if arguments.model == "tiny":
        base, settings = tiny_model.build(out / "base"), planted.TINY
    else:
        base, settings = embedded_model.fetch(arguments.out / "cache", console.print), RewardSettings()
    names, results = list(planted.HACKS), []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        turn = [names[(seed * arguments.hacks + number) % len(names)] for number in range(arguments.hacks)]
        for hack in [HONEST, *turn]:
            file = out / f"{seed}-{hack.replace(' ', '-')}.json"
            if not file.exists():
                result = {**one(base, settings, seed, hack), "code_version": code_version()}
                draft = file.with_suffix(".partial")
                draft.write_text(json.dumps(result, indent=2))
                draft.rename(file)
            results.append(json.loads(file.read_text()))
            console.print(f"seed {seed}, {hack}: failed by {', '.join(results[-1]['failed']) or 'nothing'}")
    console.print(table(results))
    spoiled = [result for result in results if result["hack"] != HONEST]
    console.print(
        f"caught by its probe: {sum(r['hack'] in r['failed'] for r in spoiled)} of {len(spoiled)}; honest and passed: "
        f"{sum(r['hack'] == HONEST and not r['failed'] for r in results)} of {len(results) - len(spoiled)}; "
        f"{sum(r['seconds'] for r in results):.0f} s on {os.cpu_count()} cores, {platform.machine()}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
