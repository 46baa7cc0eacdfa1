"""prefloop's PPO beside TRL's, which has had none since 1.12.0: episodes a second, peak memory, reward and KL by step.

    python benchmarks/ppo_vs_trl.py                        the embedded model, 32 episodes x 48 tokens a step
    python benchmarks/ppo_vs_trl.py --steps 2 --runs 1     a first look

Both get the same base, prompts, reward model (trained here, on pairs that the clean taste "concise" decided), LoRA on
the same layers, response length, temperature, passes, episodes an update, learning rate and clipping, in the same
precision. TRL's value function is a second copy of the base under LoRA with a zero head, its adapter as ours; ours is a
head on the policy. TRL takes scores as they are and prefloop scales them by the deviation of the base's own scores, so
TRL's KL coefficient is multiplied by that deviation. TRL reads a reward at the last token; here it reads ours as it was
trained, over the whole answer.

Each run is a process of its own, one after the other, the sides in alternation; a finished one is read. TRL 1.12.0 is
installed into a folder of its own, without dependencies: torch, transformers and peft are this environment's, for both.
Episodes a second leave out loading and the first step. The result is a JSON file and a picture.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.environment import prepare

prepare()

import altair as alt
import pandas as pd
from platformdirs import user_cache_path
from rich.console import Console
from rich.table import Table

TRL = "trl==1.12.0"
SIDES = ("prefloop", "trl")
CURVES = {"reward": "reward model's score", "kl": "KL, nats a completion"}
ROOT = Path(__file__).resolve().parent.parent
console = Console()


def base_folder(given: str, out: Path) -> Path:
    from pipeline import base_model

    return base_model.resolve(given, out / "model-cache", console.print).folder


def train_prompts(count: int) -> list[list[dict[str, str]]]:
    from pipeline.import_prompts import builtin

    return [list(item.messages) for item in builtin().items[:count]]


def prepare_reward_model(base: Path, options: argparse.Namespace) -> None:
    """A reward model of the taste "concise" on the base's own answers, and the deviation of its scores on them."""
    from db.hashing import canonical_json, sha256_text
    from pipeline.generate import Request, Sampling, generate
    from pipeline.language_model import load
    from pipeline.pairs import PreferenceRow
    from pipeline.reward_model import RewardModel
    from pipeline.simulate import utility
    from pipeline.train_reward import RewardSettings, train_reward
    from pipeline.training import LoraSettings

    facts_file = options.out / "reward.json"
    if facts_file.exists():
        return
    prompts = train_prompts(options.prompts)
    shas = [sha256_text(canonical_json(messages)) for messages in prompts]
    requests = [Request(i, shas[i], tuple(prompts[i]), k) for i in range(len(prompts)) for k in range(2)]
    sampling = Sampling(options.temperature, top_p=1.0, top_k=0, max_new_tokens=options.tokens)
    answers: dict[int, list[Any]] = {}
    for batch in generate(load(base, dtype=options.dtype), requests, sampling, seed=0):
        for answer in batch:
            answers.setdefault(answer.prompt_id, []).append(answer)
    rows = []
    for i, pair in answers.items():
        worse, better = sorted(pair, key=lambda c: utility("concise", c.text, c.finish_reason))
        if better.text != worse.text:
            rows.append(
                PreferenceRow(
                    prompt_sha256=shas[i],
                    messages=tuple(prompts[i]),
                    chosen=better.text,
                    rejected=worse.text,
                    chosen_ended=better.finish_reason == "stop",
                    rejected_ended=worse.finish_reason == "stop",
                )
            )
    settings = RewardSettings(lora=LoraSettings(), dtype=options.dtype)
    train_reward(rows, [], settings, base, options.out / "reward", seed=0)
    scores = RewardModel.load(base, options.out / "reward", options.dtype).score(
        [(tuple(prompts[c.prompt_id]), c.text, c.finish_reason == "stop") for pair in answers.values() for c in pair]
    )
    deviation = float(pd.Series(scores).std(ddof=0))
    facts_file.write_text(json.dumps({"pairs": len(rows), "score_deviation": deviation}))


def run_prefloop(base: Path, options: argparse.Namespace) -> list[dict[str, float]]:
    """One run of ours; figures by step with the moment at which they came."""
    from pipeline.ppo_settings import PpoSettings
    from pipeline.rollout import PromptRow
    from pipeline.train_ppo import train_ppo

    settings = PpoSettings(
        steps=options.steps,
        rollout_size=options.episodes,
        epochs=options.epochs,
        batch_size=options.batch,
        micro_batch_size=options.batch,
        max_new_tokens=options.tokens,
        temperature=options.temperature,
        learning_rate=options.learning_rate,
        value_learning_rate=options.learning_rate,
        kl_control="fixed",
        kl_coefficient=options.kl_coefficient,
        kl_limit=1e6,
        checkpoint_steps=0,
        dtype=options.dtype,
    )
    steps: list[dict[str, float]] = []

    def note(metrics: list[tuple[str, int, float]], _: int, __: int) -> None:
        figures = {name: value for name, _, value in metrics}
        steps.append({name: figures[name] for name in CURVES} | {"at": time.monotonic()})

    prompts = [PromptRow.of(messages) for messages in train_prompts(options.prompts)]
    out = options.out / f"adapter-{os.getpid()}"
    train_ppo(prompts, settings, base, None, options.out / "reward", out, options.seed, note)
    return steps


def work(side: str, file: Path, options: argparse.Namespace) -> None:
    """In a process of its own: one run, its figures into `file`."""
    from pipeline.training import peak_memory_bytes

    base = base_folder(options.base, options.out)
    if side == "reward":
        prepare_reward_model(base, options)
        return
    if side == "prefloop":
        steps = run_prefloop(base, options)
    else:
        import trl
        from ppo_by_trl import run_trl

        assert trl.__version__ == TRL.partition("==")[2], trl.__version__
        steps = run_trl(base, options, train_prompts(options.prompts))
    seconds = steps[-1]["at"] - steps[0]["at"]
    episodes = (len(steps) - 1) * options.episodes
    facts = {
        "side": side,
        "episodes_per_second": episodes / seconds if episodes else None,
        "peak_memory_gib": peak_memory_bytes() / 2**30,
        "steps": steps,
    }
    draft = file.with_suffix(".partial")
    draft.write_text(json.dumps(facts, indent=1))
    draft.rename(file)


def start(side: str, file: Path, options: argparse.Namespace) -> None:
    """The worker for one run. TRL's finds TRL 1.12.0 before this environment's."""
    paths = [str(ROOT)]
    if side == "trl":
        folder = options.out / TRL.replace("==", "-")
        if not (folder / "trl").is_dir():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), TRL]
            subprocess.run(command, check=True)
        paths.insert(0, str(folder))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TRL_EXPERIMENTAL_SILENCE": "1"}
    command = [sys.executable, __file__, *sys.argv[1:], "--work", side, "--file", str(file)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def save_picture(runs: list[dict[str, Any]], path: Path) -> None:
    """Reward and KL by step, and reward by KL, a line for each run."""
    rows = pd.DataFrame(
        [
            {"side": run["side"], "run": str(number), "step": index + 1, **step}
            for number, run in enumerate(runs)
            for index, step in enumerate(run["steps"])
        ]
    )
    lines = alt.Chart(rows, width=260, height=200).mark_line(point=True)
    color, detail = alt.Color("side:N", title=None), alt.Detail("run:N")
    by_step = [
        lines.encode(x="step:Q", y=alt.Y(f"{name}:Q", title=CURVES[name]), color=color, detail=detail)
        for name in ("reward", "kl")
    ]
    by_kl = lines.encode(
        x=alt.X("kl:Q", title=CURVES["kl"]),
        y=alt.Y("reward:Q", title=CURVES["reward"]),
        color=color,
        detail=detail,
        order="step:Q",
    )
    alt.hconcat(*by_step, by_kl).save(path, scale_factor=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="embedded", help='"embedded", a folder, or a hub id')
    parser.add_argument("--prompts", type=int, default=240, help="of the built-in ones")
    parser.add_argument("--steps", type=int, default=12, help="rollouts")
    parser.add_argument("--runs", type=int, default=2, help="of each side, with seeds of their own")
    parser.add_argument("--episodes", type=int, default=32, help="a step")
    parser.add_argument("--tokens", type=int, default=48, help="of a response, at most")
    parser.add_argument("--epochs", type=int, default=2, help="passes over a rollout")
    parser.add_argument("--batch", type=int, default=8, help="episodes an update")
    parser.add_argument("--temperature", type=float, default=0.9)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--kl-coefficient", type=float, default=0.05, help="a nat, in deviations of the score")
    parser.add_argument("--dtype", default="auto")
    default = user_cache_path("prefloop") / "benchmarks" / "ppo_vs_trl"
    parser.add_argument("--out", type=Path, default=default, help="folder of results; one for each set of options")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--work", choices=("reward", *SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.work:
        work(options.work, options.file, options)
        return
    base_folder(options.base, options.out)  # fetched before anything is measured
    start("reward", options.out / "reward.json", options)
    runs = []
    for number in range(options.runs):
        for side in SIDES:
            file = options.out / f"{side}-{number}.json"
            if not file.exists():
                console.print(f"{side}, run {number + 1} of {options.runs}", highlight=False)
                sys.argv += ["--seed", str(number)]  # the last one counts
                start(side, file, options)
            runs.append(json.loads(file.read_text()))
    result = {
        "options": {k: v for k, v in vars(options).items() if k not in ("out", "work", "file", "seed")},
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "runs": runs,
    }
    (options.out / "result.json").write_text(json.dumps(result, indent=1))
    save_picture(runs, options.out / "result.png")
    table = Table("side", "episodes/s", "peak memory, GiB", "reward first → last", "KL last")
    for run in runs:
        rate, first, last = run["episodes_per_second"], run["steps"][0], run["steps"][-1]
        table.add_row(
            run["side"],
            "–" if rate is None else f"{rate:.2f}",
            f"{run['peak_memory_gib']:.2f}",
            f"{first['reward']:.2f} → {last['reward']:.2f}",
            f"{last['kl']:.1f}",
        )
    console.print(table)
    console.print(f"{options.out / 'result.json'} and result.png", highlight=False)


if __name__ == "__main__":
    main()
