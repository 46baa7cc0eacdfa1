"""The loop: generate → label → train → compare → promote → generate again, round by round.

Every step finds what is finished and goes on from there, so that an interrupted loop continues and a finished one
costs nothing. Reward models learn from all rounds' judgments, and so does the policy: DPO goes on from the current
version with the pairs of every round, anchored to the base. Earlier rounds are held to while a new one is learned, and
outvote it where it is noise (Bai et al. 2022, arXiv:2204.05862, mix the data of all rounds likewise).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from scipy.special import betaincinv

from db import comparisons, judgments, notifications, prompts, rounds, runs, versions
from db.engine import reading, writing
from db.tables import Candidate, Prompt, Round, Version

from .ask import ask, simulate
from .compare import compare
from .config import NOT_RECORDED
from .context import Context
from .draw import draw
from .errors import PrefloopError
from .judges import judge_scores
from .pairs import PreferenceRow, RowPolicy
from .promote import ensure_current, promote_if_better
from .snapshot import Frozen, freeze
from .take_exam import take_exam
from .train import train_dpo_version, train_reward_version
from .train_by_reward import train_online_version, train_ppo_version

Annotators = Literal["human", "simulated"]


class LabelsOwed(Exception):
    """The round waits for people: `owed` judgments are asked for and not given yet."""

    def __init__(self, number: int, owed: int) -> None:
        super().__init__(f"round {number} waits for {owed} judgments; label them in the UI and run the loop again")
        self.owed = owed


@dataclass
class Stopwatch:
    seconds: dict[str, float]

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - started, 1)


def run_round(ctx: Context, loop: str, number: int, annotators: Annotators) -> dict[str, Any]:
    """One turn of the loop; its summary. A finished round is read from the store.

    Raises LabelsOwed when people's judgments are still to come, and PrefloopError when there is nothing to work on.
    """
    settings = ctx.workspace.settings
    parent = ensure_current(ctx)
    with writing(ctx.engine) as session:
        round_ = rounds.ensure(session, loop, number, parent.id, settings.model_dump(exclude=NOT_RECORDED))
        if round_.summary is not None:
            return round_.summary
        parent = versions.get(session, round_.parent_version_id)
        train_prompts = prompts.list_prompts(session, split="train")
    if not train_prompts:
        raise PrefloopError("there are no prompts to generate for; run `prefloop prompts import`")
    watch = Stopwatch({})

    with watch.measure("generate"):
        chosen = prompts_of_round(train_prompts, number, settings.label.prompts_per_round, settings.seed)
        drawn = draw(
            ctx,
            parent,
            chosen,
            settings.generate.candidates_per_prompt,
            settings.sampling,
            seed=settings.seed * 1000 + number,
            title=f"round {number}: candidates",
        )
    with watch.measure("label"):
        ask(
            ctx,
            drawn.candidates,
            round_,
            settings.label.overlap,
            settings.seed,
            _scores_of_last_reward_model(ctx, loop, number, drawn.candidates, chosen),
        )
        if annotators == "simulated":
            simulate(ctx, settings.simulate, settings.seed, round_)
        else:
            with writing(ctx.engine) as session:
                owed = comparisons.open_count(session, round_.id, kind="human")
                if owed:
                    text = f"round {number} of loop {loop} waits for {owed} judgments"
                    subject = f"round {round_.id} needs labels"
                    notifications.tell(session, "needs-labels", subject, text, {"loop": loop, "round": number})
            if owed:
                raise LabelsOwed(number, owed)
    with reading(ctx.engine) as session:
        so_far = tuple(row.id for row in rounds.list_rounds(session, loop) if row.number <= number)
        of_round = judgments.current(session, kind=annotators, purposes=("train", "repeat"), round_ids=[round_.id])
    all_rounds = freeze(ctx, RowPolicy(annotators=annotators, rounds=so_far))
    with watch.measure("train reward"):
        reward = train_reward_version(ctx, all_rounds, round_)
    with watch.measure("exam"):
        _, exam = take_exam(ctx, reward, round_)
    with watch.measure(f"train {settings.loop.trainer}"):
        policy = _train_policy(ctx, all_rounds, parent, reward, round_)
    with watch.measure("compare"):
        reward_judge = f"reward:{reward.name}"
        taste_judge = f"taste:{settings.simulate.taste}"
        judges = [taste_judge, reward_judge] if annotators == "simulated" else [reward_judge]
        base = ctx.base_version()
        run_id, against_parent = compare(ctx, policy, parent, [*judges, *settings.gate.judges], round_)
        # The base by the main judge alone: scoring it with every new reward model tells nobody anything.
        against_base = against_parent if parent.id == base.id else compare(ctx, policy, base, judges[:1], round_)[1]
    decision = promote_if_better(ctx, policy, run_id, against_parent)

    summary = {
        "round": number,
        "parent": parent.name,
        "annotators": annotators,
        "judgments": len(of_round),
        "pairs": len(all_rounds.rows),
        "promoted": decision.promote,
        "decision": decision.reason,
        "exam": {"passed": exam["passed"], "reasons": exam["reasons"]},
        "seconds": watch.seconds,
        **_figures(ctx, policy, reward, base, judges[0], against_base, against_parent),
    }
    with writing(ctx.engine) as session:
        rounds.finish(session, round_.id, summary)
    return summary


def _train_policy(
    ctx: Context, all_rounds: Frozen[PreferenceRow], parent: Version, reward: Version, round_: Round
) -> Version:
    """The round's policy: from the pairs of all rounds by DPO, or on all train prompts against its reward model."""
    section = ctx.workspace.settings.loop
    if section.trainer == "dpo":
        return train_dpo_version(ctx, all_rounds, parent, round_)
    known: dict[str, Any] = {"accept_failed_exam": section.accept_failed_exam, "round_": round_}
    if section.trainer == "ppo":
        return train_ppo_version(ctx, parent, reward, **known)
    return train_online_version(ctx, section.trainer, parent, reward, **known)


def prompts_of_round(train_prompts: list[Prompt], number: int, count: int, seed: int) -> list[Prompt]:
    """`count` prompts of one shuffled order, round after round, starting over when it is used up."""
    order = sorted(train_prompts, key=lambda prompt: prompt.sha256)
    random.Random(f"rounds {seed}").shuffle(order)
    start = (number - 1) * count
    picked = [order[(start + offset) % len(order)] for offset in range(min(count, len(order)))]
    return sorted(picked, key=lambda prompt: prompt.id)


def _scores_of_last_reward_model(
    ctx: Context, loop: str, number: int, candidates: list[Candidate], chosen: list[Prompt]
) -> dict[int, float] | None:
    """Scores by the reward model of the round before; None if there is none, or if it may be no better than chance.

    It has to have been right on its held-out pairs more often than by chance: the lower bound of the exact 95 %
    interval (Clopper & Pearson 1934) above one half. A model of few pairs seldom has, and would choose at random.
    """
    with reading(ctx.engine) as session:
        before = [row.summary for row in rounds.list_rounds(session, loop) if row.number == number - 1]
    if not before or before[0] is None or not before[0]["reward_heldout_pairs"]:
        return None
    pairs = before[0]["reward_heldout_pairs"]
    right = int(before[0]["reward_accuracy"] * pairs + 1e-9)  # a tie counts half, and is no proof
    if right == 0 or betaincinv(right, pairs - right + 1, 0.025) <= 0.5:
        return None
    ctx.release_models()
    return judge_scores(ctx, f"reward:{before[0]['reward_model']}", candidates, chosen)


def _figures(
    ctx: Context,
    policy: Version,
    reward: Version,
    base: Version,
    judge: str,
    against_base: dict[str, Any],
    against_parent: dict[str, Any],
) -> dict[str, Any]:
    """The summary's part about what came of the round: win rates, lengths, KL, the reward model's accuracy."""
    assert reward.run_id is not None, "a trained version has a run"
    with reading(ctx.engine) as session:
        reward_summary = runs.get(session, reward.run_id).summary or {}
    return {
        "version": policy.name,
        "reward_model": reward.name,
        "reward_accuracy": reward_summary.get("heldout_accuracy"),
        "reward_heldout_pairs": reward_summary.get("heldout_pairs"),
        "judge": judge,
        "confidence": against_base["confidence"],
        "against_base": against_base["judges"],
        "against_parent": against_parent["judges"],
        **against_base["versions"][policy.name],
        "base_mean_tokens": against_base["versions"][base.name]["mean_tokens"],
    }
