"""The steps of reinforcement learning: a reward model that passed its exam, rules beside it (RLOO and GRPO), a second
judge who watches, and a version at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from db import prompts, snapshots
from db.engine import reading
from db.tables import Prompt, Round, Version

from . import pictures
from .context import Context
from .exam_gate import require_passed_exam
from .recorded_run import RecordedRun
from .second_judge import resolve, watched
from .train import shared, train_version

Algorithm = Literal["rloo", "grpo"]


def train_online_version(
    ctx: Context,
    algorithm: Algorithm,
    parent: Version,
    reward: Version | None,
    rules: Sequence[str] | None = None,
    second_judge: str | None = None,
    accept_failed_exam: bool = False,
    on_prompts: Sequence[Prompt] | None = None,
    round_: Round | None = None,
    seed: int | None = None,
) -> Version:
    """A policy by RLOO or GRPO, starting at `parent`; an equal one that is finished is returned instead.

    What is optimised is the score of `reward`, if there is one, and `rules`; `rules` and `second_judge` are by default
    those of the config, `on_prompts` all train prompts. The run's config records the exam that opened the gate.
    """
    from .rewards import Term, rule
    from .train_online import GrpoSettings, RlooSettings, train_online

    workspace = ctx.workspace.settings
    section, build = (workspace.rloo, RlooSettings) if algorithm == "rloo" else (workspace.grpo, GrpoSettings)
    settings = build(**section.model_dump(), **shared(ctx))
    seed = workspace.seed if seed is None else seed
    terms = [rule(setting) for setting in (workspace.rl.rules if rules is None else rules)]
    weights = {term.name: term.weight for term in terms}
    note: dict[str, Any] = {}
    if reward is not None:
        ctx.reward_adapter(reward)  # what cannot be read is refused before there is a run
        note["exam"] = require_passed_exam(ctx, reward, accept_failed_exam)
        weights[f"reward:{reward.name}"] = workspace.rl.reward_weight
    judge = resolve(ctx, second_judge or workspace.rl.second_judge, reward, round_)
    if judge is not None:
        note["second_judge_disjoint"] = judge.disjoint
    with reading(ctx.engine) as session:
        snapshot = snapshots.get(session, reward.snapshot_id) if reward and reward.snapshot_id else None
        asked = prompts.list_prompts(session, split="train") if on_prompts is None else on_prompts

    def work(run: RecordedRun, on_metrics: Any) -> Any:
        if reward is not None:
            name, weight = f"reward:{reward.name}", workspace.rl.reward_weight
            terms.append(Term(name, weight, ctx.reward_model(reward).score))
        result = train_online(
            [prompt.messages for prompt in asked],
            terms,
            judge.score(ctx) if judge is not None else None,
            settings,
            ctx.base.folder,
            ctx.adapter(parent),
            run.folder / "adapter",
            seed,
            on_metrics,
            ctx.workspace.chat_template(),
        )
        return dataclasses.replace(result, summary={**result.summary, **watched(ctx, run, result.metrics, algorithm)})

    return train_version(
        ctx,
        algorithm,
        {**asdict(settings), "rewards": weights, "second_judge": judge.name if judge else None},
        seed,
        snapshot,
        {"prompts": len(asked)},
        parent,
        round_,
        work,
        also=[
            reward.adapter_sha256 if reward else None,
            judge.version.adapter_sha256 if judge and judge.version else None,
            *sorted(prompt.sha256 for prompt in asked),
        ],
        note=note,
    )


def train_ppo_version(
    ctx: Context,
    parent: Version,
    reward: Version,
    second_judge: str | None = None,
    accept_failed_exam: bool = False,
    on_prompts: Sequence[Prompt] | None = None,
    round_: Round | None = None,
    seed: int | None = None,
) -> Version:
    """A policy by PPO against `reward`, starting at `parent`; an equal one that is finished is returned instead.

    `second_judge` is by default that of the config, `on_prompts` all train prompts. The run's config records the exam
    that opened the gate.
    """
    from .ppo_settings import PpoSettings
    from .rollout import PromptRow
    from .train_ppo import train_ppo

    workspace = ctx.workspace.settings
    settings = PpoSettings(**{**shared(ctx), **workspace.ppo.model_dump()})
    seed = workspace.seed if seed is None else seed
    exam = require_passed_exam(ctx, reward, accept_failed_exam)
    judge = resolve(ctx, second_judge or workspace.rl.second_judge, reward, round_)
    with reading(ctx.engine) as session:
        snapshot = snapshots.get(session, reward.snapshot_id) if reward.snapshot_id else None
        asked = prompts.list_prompts(session, split="train") if on_prompts is None else on_prompts
    reward_adapter = ctx.reward_adapter(reward)

    def work(run: RecordedRun, on_metrics: Any) -> Any:
        result = train_ppo(
            [PromptRow(prompt.sha256, tuple(prompt.messages)) for prompt in asked],
            settings,
            ctx.base.folder,
            ctx.adapter(parent),
            reward_adapter,
            run.folder / "adapter",
            seed,
            on_metrics,
            ctx.workspace.chat_template(),
            workspace.reward.max_length,
            judge.score(ctx) if judge is not None else None,
        )
        pictures.save_ppo_picture(result.metrics, run.folder / "ppo.png", "ppo")
        if result.summary["stopped"]:
            ctx.say(f"ppo stopped by itself: {result.summary['stopped']}; the last good adapter is kept")
        return dataclasses.replace(result, summary={**result.summary, **watched(ctx, run, result.metrics, "ppo")})

    return train_version(
        ctx,
        "ppo",
        {**asdict(settings), "reward": f"reward:{reward.name}", "second_judge": judge.name if judge else None},
        seed,
        snapshot,
        {"prompts": len(asked)},
        parent,
        round_,
        work,
        also=[
            reward.adapter_sha256,
            judge.version.adapter_sha256 if judge and judge.version else None,
            *sorted(prompt.sha256 for prompt in asked),
        ],
        note={"exam": exam, "second_judge_disjoint": judge.disjoint if judge else None},
    )
