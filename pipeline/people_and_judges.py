"""How far a judge agrees with people, on the pairs that people decided: training questions and evaluations alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from db import candidates, prompts, snapshots, versions, votes
from db.engine import reading
from db.hashing import canonical_json, sha256_text
from db.votes import DecidedPair

from . import judges
from .context import Context
from .pairs import split_by_prompt
from .snapshot import rebuild
from .stats.judge_agreement import judge_agreement
from .train import REWARD_HELDOUT_SHARE

_DECIDED: dict[judges.Verdict, Literal["win", "loss"]] = {"win": "win", "loss": "loss"}


def decided_by_people(ctx: Context) -> list[DecidedPair]:
    """What people decided; none where the settings measure no agreement."""
    if not ctx.workspace.settings.compare.agreement_pairs:
        return []
    with reading(ctx.engine) as session:
        return votes.decided(session, "human")


def digest(decided: Sequence[DecidedPair]) -> str:
    """Equal for the same judgments: agreement that was measured on them stands."""
    return sha256_text(canonical_json([pair.judgment_id for pair in decided]))


def agreement(ctx: Context, judge: str, decided: Sequence[DecidedPair]) -> dict[str, Any] | None:
    """`JudgeAgreement` as plain values; None when nothing was decided by both.

    At most `compare.agreement_pairs` comparisons, in the order of their prompts' content hash: a random one. A reward
    model is not measured on prompts that it learned from, where it would only repeat what it was told.
    """
    settings = ctx.workspace.settings.compare
    taught = _taught(ctx, judge)
    open_to = sorted((p for p in decided if p.prompt_sha256 not in taught), key=lambda p: (p.prompt_sha256, p[1]))
    chosen = set(list(dict.fromkeys(pair.comparison_id for pair in open_to))[: settings.agreement_pairs])
    asked = [pair for pair in open_to if pair.comparison_id in chosen]
    if not asked:
        return None
    sides = {pair.comparison_id: (pair.first_id, pair.second_id) for pair in asked}
    with reading(ctx.engine) as session:
        found = candidates.by_ids(session, [candidate_id for side in sides.values() for candidate_id in side])
        of_prompts = prompts.list_prompts(session, include_retired=True)
    said = judges.verdicts(ctx, judge, [(found[first], found[second]) for first, second in sides.values()], of_prompts)
    verdict = dict(zip(sides, said, strict=True))
    result = judge_agreement(
        [
            (pair.comparison_id, pair.preferred_id == pair.first_id, _DECIDED.get(verdict[pair.comparison_id]))
            for pair in asked
        ],
        settings.confidence,
    )
    return None if result is None else asdict(result)


def _taught(ctx: Context, judge: str) -> set[str]:
    """The content hashes of the prompts whose judgments trained the judge."""
    if not judge.startswith("reward:"):
        return set()
    with reading(ctx.engine) as session:
        version = versions.by_name(session, judge.removeprefix("reward:"))
        snapshot = None if version.snapshot_id is None else snapshots.get(session, version.snapshot_id)
    if snapshot is None:
        return set()
    taught, _ = split_by_prompt(rebuild(ctx, snapshot), REWARD_HELDOUT_SHARE)
    return {row.prompt_sha256 for row in taught}
