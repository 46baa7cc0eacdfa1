"""Reward models of real preferences: held-out accuracy over five folds, beside TRL's RewardTrainer as it comes.

    python benchmarks/reward_on_hh.py --data PATH                      five folds of ours
    python benchmarks/reward_on_hh.py --data PATH --peer               and of the peer, in alternation
    python benchmarks/reward_on_hh.py --data PATH --fold 0 --pairs 24  a smoke test

PATH is a .jsonl or .jsonl.gz in the format of Anthropic's HH-RLHF: `chosen` and `rejected` are whole transcripts. The
last assistant turn is the completion, what stands before it the conversation. Folds go by the hash of the first user
turn, so that a dialogue and its continuation are never on both sides. Each cell (a fold, ours or the peer's) runs in a
process of its own, for its peak memory, and its result is kept: an interrupted benchmark goes on.

The peer is TRL's RewardTrainer with its defaults and what its documentation says about LoRA: float32 weights, bfloat16
autocast, gradient checkpointing, LoRA of rank 16 on all linear layers with the score head, learning rate 1e-4.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from pipeline.environment import prepare

prepare()

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from platformdirs import user_cache_path
from rich.console import Console
from rich.table import Table
from trl import RewardConfig, RewardTrainer
from trl.trainer.utils import pad

from db.hashing import canonical_json, sha256_text
from pipeline import embedded_model
from pipeline.context import code_version
from pipeline.language_model import batches_of_like_length, best_device, has_fast_bf16, load_tokenizer
from pipeline.pairs import PreferenceRow
from pipeline.reward_model import RewardModel
from pipeline.stats.win_rate import WinRate, win_rate
from pipeline.train_reward import RewardSettings, train_reward
from pipeline.training import LoraSettings, peak_memory_bytes

FOLDS = 5
DEFAULTS = RewardSettings(epochs=1)
console = Console()


def turns(transcript: str) -> Iterator[dict[str, str]]:
    """The messages of a transcript."""
    for part in transcript.replace("\n\nHuman:", "\0user:").replace("\n\nAssistant:", "\0assistant:").split("\0")[1:]:
        role, _, content = part.partition(":")
        yield {"role": role, "content": content.strip()}


def read(data: Path, last_turns: int, at_end_of_turn: bool) -> list[PreferenceRow]:
    """The pairs of a file in the order of their hashes. `prompt_sha256` is that of the first user turn.

    Left out: pairs that differ before the last turn, have no user turn before it, or the same completion twice.
    """
    with gzip.open(data, "rt") if data.suffix == ".gz" else data.open() as file:
        lines = [json.loads(line) for line in file]
    rows = []
    for line in lines:
        *messages, chosen = turns(line["chosen"])
        *others, rejected = turns(line["rejected"])
        whole = messages == others and messages and messages[-1]["role"] == "user"
        if whole and chosen["role"] == rejected["role"] == "assistant" and chosen != rejected:
            first = next(message["content"] for message in messages if message["role"] == "user")
            kept = tuple(messages[-last_turns:])
            texts = chosen["content"], rejected["content"]
            rows.append(PreferenceRow(sha256_text(first), kept, *texts, at_end_of_turn, at_end_of_turn))
    return sorted(rows, key=lambda row: sha256_text(canonical_json(asdict(row))))


def fold_of(row: PreferenceRow) -> int:
    return int(sha256_text(f"fold {row.prompt_sha256}")[:8], 16) % FOLDS


def train_ours(
    rows: list[PreferenceRow], heldout: list[PreferenceRow], settings: RewardSettings, base: Path, out: Path
) -> tuple[float, list[float]]:
    """(seconds of training, score differences chosen − rejected of the held-out pairs)"""
    started = time.monotonic()
    trained = train_reward(rows, [], settings, base, out, seed=0, on_metrics=_shown(started, settings.batch_size))
    seconds = time.monotonic() - started
    model = RewardModel.load(base, trained.adapter, settings.dtype, max_length=settings.max_length)
    chosen = model.score([(row.messages, row.chosen, row.chosen_ended) for row in heldout])
    rejected = model.score([(row.messages, row.rejected, row.rejected_ended) for row in heldout])
    return seconds, [c - r for c, r in zip(chosen, rejected, strict=True)]


def train_peer(
    rows: list[PreferenceRow], heldout: list[PreferenceRow], epochs: int, base: Path, out: Path
) -> tuple[float, list[float]]:
    """As `train_ours`, by TRL alone; held-out pairs are scored as they were trained: the whole chat, templated."""

    def chat(row: PreferenceRow, text: str) -> list[dict[str, str]]:
        return [*row.messages, {"role": "assistant", "content": text}]

    started = time.monotonic()
    trainer = RewardTrainer(
        model=str(base),
        args=RewardConfig(
            output_dir=str(out),
            num_train_epochs=epochs,
            bf16=has_fast_bf16(),
            use_cpu=best_device().type == "cpu",
            save_strategy="no",
            report_to="none",
            seed=0,
        ),
        train_dataset=Dataset.from_list(
            [{"chosen": chat(row, row.chosen), "rejected": chat(row, row.rejected)} for row in rows]
        ),
        peft_config=LoraConfig(r=16, target_modules="all-linear", task_type="SEQ_CLS", modules_to_save=["score"]),
    )
    trainer.train()
    seconds = time.monotonic() - started
    tokenizer = load_tokenizer(base)
    tokenizer.pad_token = trainer.processing_class.pad_token
    model = trainer.model.eval()
    scores = [
        last_token_scores(
            model,
            [
                tokenizer(tokenizer.apply_chat_template(chat(row, text), tokenize=False), add_special_tokens=False)[
                    "input_ids"
                ]
                for row, text in texts
            ],
            tokenizer.pad_token_id,
        )
        for texts in ([(row, row.chosen) for row in heldout], [(row, row.rejected) for row in heldout])
    ]
    return seconds, [c - r for c, r in zip(*scores, strict=True)]


@torch.inference_mode()
def last_token_scores(model: Any, encoded: list[list[int]], pad_id: int) -> list[float]:
    """One score for each sequence of token ids, as the class reads it: at the last token."""
    scores = [0.0] * len(encoded)
    for batch in batches_of_like_length([len(ids) for ids in encoded], token_budget=8_192):
        tokens = pad([torch.tensor(encoded[i]) for i in batch], padding_value=pad_id)
        mask = pad([torch.ones(len(encoded[i]), dtype=torch.long) for i in batch], padding_value=0)
        for index, value in zip(batch, model(input_ids=tokens, attention_mask=mask).logits[:, 0].tolist(), strict=True):
            scores[index] = value
    return scores


def _shown(started: float, batch_size: int) -> Any:
    """Progress, every tenth step."""

    def on_metrics(new: list[tuple[str, int, float]], done: int, steps: int) -> None:
        for name, step, value in new:
            if name == "loss" and step % 10 == 0:
                rate = step * batch_size / (time.monotonic() - started)
                console.print(f"  step {step} of {steps}, loss {value:.3f}, {rate:.2f} pairs/s", highlight=False)

    return on_metrics


def run_cell(cell: str, rows: list[PreferenceRow], settings: RewardSettings, base: Path, file: Path) -> None:
    """Train and measure one cell in this process, and leave its result in `file`."""
    who, fold = cell.split(":")
    train = [row for row in rows if fold_of(row) != int(fold)]
    heldout = [row for row in rows if fold_of(row) == int(fold)]
    with tempfile.TemporaryDirectory() as folder:
        if who == "ours":
            seconds, differences = train_ours(train, heldout, settings, base, Path(folder) / "reward")
        else:
            seconds, differences = train_peer(train, heldout, settings.epochs, base, Path(folder) / "reward")
    result = {
        "cell": cell,
        "pairs": len(train),
        "seconds": seconds,
        "pairs_per_second": len(train) * settings.epochs / seconds,  # loading included
        "peak_memory_bytes": peak_memory_bytes(),
        "differences": [[row.prompt_sha256, value] for row, value in zip(heldout, differences, strict=True)],
        "settings": asdict(settings) if who == "ours" else "TRL's defaults",
        "code_version": code_version(),
    }
    draft = file.with_suffix(".partial")
    draft.write_text(json.dumps(result, indent=2))
    draft.rename(file)


def accuracy(results: list[dict[str, Any]]) -> WinRate:
    """Share of held-out pairs in the right order, its interval clustered by prompt."""
    found = [difference for result in results for difference in result["differences"]]
    number = {prompt: index for index, prompt in enumerate(dict.fromkeys(prompt for prompt, _ in found))}
    return win_rate((number[prompt], 0.5 if value == 0 else float(value > 0)) for prompt, value in found)


def table(results: list[dict[str, Any]]) -> Table:
    shown = Table("who", "fold", "trained on", "held out", "accuracy [95 %]", "pairs/s", "peak GB", box=None)
    for who in dict.fromkeys(result["cell"].split(":")[0] for result in results):
        of_who = [result for result in results if result["cell"].startswith(who)]
        for name, some in [*((r["cell"].split(":")[1], [r]) for r in of_who), ("all", of_who)]:
            rate = accuracy(some)
            shown.add_row(
                who,
                name,
                f"{np.mean([r['pairs'] for r in some]):.0f}",
                str(rate.comparisons),
                f"{rate.rate:.1%} [{rate.low:.1%}, {rate.high:.1%}]",
                f"{sum(r['pairs'] for r in some) / sum(r['pairs'] / r['pairs_per_second'] for r in some):.2f}",
                f"{max(r['peak_memory_bytes'] for r in some) / 1e9:.1f}",
            )
    return shown


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="pairs in the format of HH-RLHF, .jsonl or .jsonl.gz")
    parser.add_argument("--peer", action="store_true", help="train the peer on the same folds")
    parser.add_argument("--fold", type=int, action="append", choices=range(FOLDS), help="only this one; repeatable")
    parser.add_argument("--pairs", type=int, help="only so many, by their hashes")
    parser.add_argument("--base", type=Path, help="folder of the model; default the embedded one")
    parser.add_argument("--out", type=Path, default=user_cache_path("prefloop") / "benchmarks" / "reward_on_hh")
    ours = parser.add_argument_group("our settings (the product's, but for one epoch)")
    for name in ("learning_rate", "center_coefficient", "head_rate", "head_scale", "weight_decay"):
        ours.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(DEFAULTS, name))
    for name in ("epochs", "batch_size", "micro_batch_size", "max_length"):
        ours.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(DEFAULTS, name))
    ours.add_argument("--rank", type=int, default=DEFAULTS.lora.rank)
    ours.add_argument("--alpha", type=int, default=DEFAULTS.lora.alpha)
    ours.add_argument("--target-modules", default=DEFAULTS.lora.target_modules)
    ours.add_argument(
        "--layer-share", type=float, default=DEFAULTS.lora.layer_share, help="of the layers, from the top"
    )
    ours.add_argument("--last-turns", type=int, default=1_000, help="of the conversation, that are read; the peer too")
    ours.add_argument("--read-at", choices=["end-of-turn", "last-word"], default="end-of-turn", help="where to score")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    lora = LoraSettings(arguments.rank, arguments.alpha, arguments.target_modules, arguments.layer_share)
    named = {field.name: getattr(arguments, field.name) for field in fields(DEFAULTS) if hasattr(arguments, field.name)}
    settings = replace(DEFAULTS, lora=lora, **named)
    rows = read(arguments.data, arguments.last_turns, arguments.read_at == "end-of-turn")[: arguments.pairs]
    base = arguments.base or embedded_model.fetch(arguments.out / "cache", console.print)
    of_rows = [sha256_text(canonical_json(asdict(row))) for row in rows]
    results = []
    for fold in arguments.fold or range(FOLDS):
        for who in ("ours", "peer") if arguments.peer else ("ours",):
            config = asdict(settings) if who == "ours" else {"epochs": settings.epochs}
            folder = arguments.out / sha256_text(canonical_json([who, config, of_rows, str(base)]))[:12]
            folder.mkdir(parents=True, exist_ok=True)
            file, cell = folder / f"fold-{fold}.json", f"{who}:{fold}"
            if arguments.cell == cell:
                run_cell(cell, rows, settings, base, file)
                return
            if arguments.cell is None:
                if not file.exists():
                    console.print(f"{who}, fold {fold}")
                    subprocess.run([sys.executable, __file__, *sys.argv[1:], "--cell", cell], check=True)
                results.append(json.loads(file.read_text()))
    console.print(table(results))


if __name__ == "__main__":
    main()
