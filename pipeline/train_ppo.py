"""TRAIN: proximal policy optimisation against a reward model, on one base model in four roles (roles.py).

The loop follows Ziegler et al. 2019 (arXiv:1909.08593), Stiennon et al. 2020 (arXiv:2009.01325) and Ouyang et al. 2022
(arXiv:2203.02155), with the details that Huang et al. 2024 (arXiv:2403.17031) found to matter. The arithmetic is in
ppo.py, sampling in rollout.py, the updates in ppo_update.py, what a crash must not lose in ppo_state.py.

Left out: an entropy bonus, a mixture of pretraining gradients (Ouyang's PPO-ptx), and a value network of its own.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import reduce

from db.hashing import canonical_json, sha256_text

from . import checkpoints, ppo, ppo_state, ppo_update, roles
from .checkpoints import ADAPTER_FILE, file_sha256
from .errors import PrefloopError
from .language_model import best_device
from .ppo_settings import PpoSettings
from .ppo_state import Start, State
from .rewards import Score
from .rollout import Experience, PromptRow, check_prompts, evaluate, requests_of_step, roll_out
from .stopping import Stopped, on_sigterm
from .training import OnMetrics, TrainResult, peak_memory_bytes

SAMPLES_FILE = "samples.jsonl"
SAMPLES_A_STEP = 4  # completions, for people to read


def train_ppo(
    prompts: Sequence[PromptRow],
    settings: PpoSettings,
    base: Path,
    parent_adapter: Path | None,
    reward_adapter: Path,
    out: Path,
    seed: int,
    on_metrics: OnMetrics | None = None,
    chat_template: str | None = None,
    reward_max_length: int = 512,
    second_judge: Score | None = None,
) -> TrainResult:
    """Train on `prompts` and leave the adapter in `out`, which must not exist, and samples of its answers beside it.

    Goes on from the newest verified checkpoint beside `out` (checkpoints.root_of); the caller removes the folder once
    the result is safe. `second_judge` is not learned from: its mean is logged, so that one sees where the two part.

    The summary's `stopped` is None, or why training ended before its time; the adapter is then the last good one.
    Raises PrefloopError for settings that cannot be, and when nothing good was learned; Stopped after SIGTERM. Under
    torchrun every process calls it; the first one reports and writes.
    """
    started = time.monotonic()
    process = PartialState(cpu=best_device().type == "cpu")
    settings.check(process.num_processes)
    models = roles.load(
        base,
        parent_adapter,
        reward_adapter,
        settings.lora,
        settings.reference,
        settings.dtype,
        settings.temperature,
        reward_max_length,
        chat_template,
        process.device,
        seed,
        settings.load_in_4bit,
    )
    check_prompts(prompts, models, settings.max_new_tokens)
    optimizer = ppo_update.make_optimizer(models, settings)
    store = ppo_state.Store(
        root=checkpoints.root_of(out),
        identity=_identity(prompts, settings, parent_adapter, reward_adapter, seed, process.num_processes),
        models=models,
        optimizer=optimizer,
        process=process,
    )
    state = store.load() or State(
        ppo.KlController(settings.kl_coefficient, settings.kl_target, settings.kl_horizon),
        last_good=ppo_state.policy_weights(models),
    )
    report = Report(state, settings.steps, out.parent / SAMPLES_FILE, on_metrics if process.is_main_process else None)
    stopped = None
    told_to_stop = threading.Event()
    with on_sigterm(told_to_stop.set):
        while state.step < settings.steps and stopped is None:
            # 1. Roll out: the policy answers the next prompts.
            requests = requests_of_step(prompts, state.step, settings.rollout_size, seed)
            episodes = roll_out(models, requests, settings, process, seed)

            # 2. Evaluate: log-probabilities, values, reference and score of every answer (arXiv:2203.02155, §3.5).
            experience = evaluate(models, episodes, settings, process)
            figures = experience.figures(second_judge if process.is_main_process else None)

            # 3. The parent's own answers set the scale: score of mean 0 and deviation 1 (arXiv:1909.08593, §2.2).
            state.start = state.start or _start(experience, figures)

            # 4. Stop if the policy that sampled is ill; if not, it is the last good one.
            stopped = illness(figures, state.start, settings)
            if stopped is not None:
                report.figures(figures)
                break
            state.last_good = ppo_state.policy_weights(models)

            # 5. Rewards at every token, advantages and returns (arXiv:1506.02438), advantages whitened.
            targets = _targets(experience, state, settings)

            # 6. Learn: clipped losses, several passes (arXiv:1707.06347); rates fall linearly (arXiv:2403.17031).
            share_left = 1 - state.step / settings.steps
            ppo_update.set_rates(optimizer, settings, share_left)
            try:
                learned = ppo_update.learn(
                    models, optimizer, experience, targets, settings, process, f"updates {seed} {state.step}"
                )
            except ppo_update.NonFiniteLoss:
                stopped = f"the loss became non-finite in step {state.step + 1}"
                break

            # 7. Log, and steer the KL penalty towards its target (arXiv:1909.08593, §2.2).
            figures |= learned
            figures["explained_variance"] = ppo.explained_variance(
                experience.values_R_T, targets.returns_R_T, experience.mask_R_T
            )
            figures["learning_rate"] = settings.learning_rate * share_left
            figures["kl_coefficient"] = state.controller.coefficient
            report.figures(figures)
            report.samples(experience)
            if settings.kl_control == "adaptive":
                state.controller = state.controller.after(figures["kl"], settings.rollout_size)
            state.tokens += settings.epochs * sum(len(e.prompt_ids) + len(e.completion_ids) for e in episodes)
            state.step += 1

            # 8. Make it safe, and give way if asked to: one process that was told to stop stops all.
            ending = bool(reduce(torch.tensor(float(told_to_stop.is_set()), device=process.device), "max"))
            if ending or (settings.checkpoint_steps and state.step % settings.checkpoint_steps == 0):
                store.save(state)
            if ending:
                done = f"after step {state.step} of {settings.steps}"
                raise Stopped(f"stopped by SIGTERM {done}; the same command goes on from there")

    if stopped is not None:
        if state.step == 0:
            raise PrefloopError(f"{stopped}, before anything was learned; lower ppo.learning_rate")
        ppo_state.set_policy_weights(models, state.last_good)
    if process.is_main_process:
        roles.save_policy(models, out)
    process.wait_for_everyone()
    last = {name: value for name, step, value in state.metrics if step == state.step}
    return TrainResult(
        adapter=out,
        adapter_sha256=file_sha256(out / ADAPTER_FILE),
        metrics=state.metrics,
        summary={
            "steps": state.step,
            "episodes": state.step * settings.rollout_size,
            "stopped": stopped,
            **{f"final_{name}": last[name] for name in ("reward", "second_reward", "kl", "length") if name in last},
        },
        tokens=state.tokens,
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
    )


def illness(figures: dict[str, float], start: Start, settings: PpoSettings) -> str | None:
    """Why training must not go on from the policy with these figures, or None."""
    if not math.isfinite(figures["kl"]) or figures["kl"] > settings.kl_limit:
        return f"KL blew up: {figures['kl']:.1f} nats a completion, ppo.kl_limit is {settings.kl_limit:g}"
    if figures["length"] < settings.length_floor * start.length:
        return f"answers collapsed to {figures['length']:.1f} tokens from {start.length:.1f} of the parent's"
    if figures["entropy"] < settings.entropy_floor * start.entropy:
        return f"entropy collapsed to {figures['entropy']:.3f} nats a token from {start.entropy:.3f} of the parent's"
    return None


def _start(experience: Experience, figures: dict[str, float]) -> Start:
    deviation = float(experience.scores_R.std(correction=0))
    if not deviation > 1e-6:
        raise PrefloopError(
            f"the reward model gives all {len(experience.scores_R)} answers of the first rollout the same score "
            f"({figures['reward']:.4g}); there is nothing to learn from it: train another one"
        )
    return Start(figures["reward"], deviation, figures["length"], figures["entropy"])


def _targets(experience: Experience, state: State, settings: PpoSettings) -> ppo_update.Targets:
    """Rewards, then what they teach: the KL penalty at every token, the scaled score at the last."""
    assert state.start is not None, "the first rollout sets it"
    mask_R_T = experience.mask_R_T
    scores_R = (experience.scores_R - state.start.score_mean) / state.start.score_deviation
    ended_R = torch.tensor([e.ended for e in experience.episodes])
    scores_R = ppo.penalise_missing_end(scores_R, ended_R, settings.missing_end_penalty)
    kl_R_T = ppo.kl_k1(experience.logprobs_R_T, experience.reference_R_T)
    rewards_R_T = ppo.token_rewards(scores_R, kl_R_T, mask_R_T, state.controller.coefficient)
    if settings.whiten_rewards:
        rewards_R_T = ppo.whiten(rewards_R_T, mask_R_T, shift_mean=False)
    advantages_R_T, returns_R_T = ppo.gae(rewards_R_T, experience.values_R_T, mask_R_T, settings.gamma, settings.lam)
    return ppo_update.Targets(ppo.whiten(advantages_R_T, mask_R_T), returns_R_T)


class Report:
    """Figures and samples: into the state, out to who listens, and what was there before a resumed run once more."""

    def __init__(self, state: State, steps: int, samples_file: Path, on_metrics: OnMetrics | None) -> None:
        self.state, self.steps, self.samples_file, self.on_metrics = state, steps, samples_file, on_metrics
        if on_metrics is not None and state.metrics:
            on_metrics(state.metrics, state.step, steps)

    def figures(self, figures: dict[str, float]) -> None:
        """Of the step that is under way."""
        new = [(name, self.state.step + 1, value) for name, value in figures.items()]
        self.state.metrics += new
        if self.on_metrics is not None:
            self.on_metrics(new, self.state.step + 1, self.steps)

    def samples(self, experience: Experience) -> None:
        """The rollout's first requests, each with its score: one JSON object a line."""
        for index, episode in enumerate(experience.episodes):
            if episode.number < SAMPLES_A_STEP:
                facts = {"prompt": episode.messages, "completion": episode.text, "ended": episode.ended}
                score = float(experience.scores_R[index])
                self.state.samples.append({"step": self.state.step + 1, "reward": score, **facts})
        if self.on_metrics is not None:
            lines = [json.dumps(sample, ensure_ascii=False) + "\n" for sample in self.state.samples]
            self.samples_file.write_text("".join(lines))


def _identity(
    prompts: Sequence[PromptRow],
    settings: PpoSettings,
    parent_adapter: Path | None,
    reward_adapter: Path,
    seed: int,
    processes: int,
) -> str:
    """sha256 of what decides the result: a checkpoint of anything else is not gone on from."""
    adapters = [file_sha256(path / ADAPTER_FILE) if path else None for path in (parent_adapter, reward_adapter)]
    shas = [row.prompt_sha256 for row in prompts]
    deciding = asdict(settings) | {"checkpoint_steps": None}  # which changes no result
    return sha256_text(canonical_json([deciding, shas, adapters, seed, processes]))
