"""COMPARE: two versions on the same held-out prompts, by one or more judges.

Completions are cached in the store: a version never generates the same thing twice. So are the judges' scores. A
judge here is a number for a completion; the version whose completion has the higher number wins the comparison.

    taste:<name>    the clean planted taste of simulated annotators: the truth in a self-test, unknown in real life
    reward:<name>   a reward model; biased towards policies that were selected by it, which is why it is named
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from db import prompts, scores, versions
from db.engine import reading, writing
from db.tables import Candidate, Prompt, Round, Version

from .context import Context
from .draw import draw
from .errors import PrefloopError
from .recorded_run import fingerprint, finished_run, recorded
from .simulate import TASTES, utility
from .stats.win_rate import WinRate, win_rate


def compare(
    ctx: Context, a: Version, b: Version, judges: Sequence[str], round_: Round | None = None
) -> tuple[int, dict[str, Any]]:
    """(run id, report) of `a` against `b`. An equal comparison that is finished is read, not made again.

    The report: `judges` maps each judge to the win rate of `a` over `b` with its interval; `versions` gives each
    one's mean length in tokens, its share of completions that ended by themselves, and its KL divergence to the base
    (mean over completions of log π(y) − log π_base(y), nats per completion).
    """
    if a.id == b.id:
        raise PrefloopError(f"{a.name} against itself is no comparison; name two versions")
    settings = ctx.workspace.settings.compare
    sampling = ctx.workspace.settings.sampling
    with reading(ctx.engine) as session:
        heldout = prompts.list_prompts(session, split="heldout")
        known_judges = [
            _checked(judge, [v.name for v in versions.list_versions(session, "reward")]) for judge in judges
        ]
    if not heldout:
        raise PrefloopError("there are no held-out prompts; import more with `prefloop prompts import`")

    config = {
        "a": a.name,
        "b": b.name,
        "judges": known_judges,
        "sampling": sampling.model_dump(),
        "samples_per_prompt": settings.samples_per_prompt,
        "confidence": settings.confidence,
    }
    hashes = [a.adapter_sha256, b.adapter_sha256, a.base_sha256, b.base_sha256, *(p.sha256 for p in heldout)]
    mark = fingerprint("compare", config, settings.seed, *hashes)
    done = finished_run(ctx, mark)
    if done is not None and done.summary is not None:
        return done.id, done.summary

    with recorded(ctx, "compare", config, settings.seed, mark, version=a, round_=round_) as run:
        drawn = {
            version.name: draw(
                ctx, version, heldout, settings.samples_per_prompt, sampling, settings.seed, "held-out completions"
            ).candidates
            for version in (a, b)
        }
        report: dict[str, Any] = {
            "a": a.name,
            "b": b.name,
            "prompts": len(heldout),
            "confidence": settings.confidence,
            "judges": {},
            "versions": {version.name: _describe(ctx, version, drawn[version.name], heldout) for version in (a, b)},
        }
        for judge in known_judges:
            values = judge_scores(ctx, judge, [*drawn[a.name], *drawn[b.name]], heldout)
            rate = head_to_head(drawn[a.name], drawn[b.name], values, settings.confidence)
            report["judges"][judge] = asdict(rate)
        with writing(ctx.engine) as session:
            run.finish(session, report)
    return run.id, report


def head_to_head(
    a: Sequence[Candidate], b: Sequence[Candidate], values: dict[int, float], confidence: float = 0.95
) -> WinRate:
    """The win rate of `a`, sample by sample of each prompt. Both are ordered by (prompt, sample)."""
    outcomes = []
    for ours, theirs in zip(a, b, strict=True):
        assert (ours.prompt_id, ours.sample_index) == (theirs.prompt_id, theirs.sample_index)
        difference = values[ours.id] - values[theirs.id]
        outcomes.append((ours.prompt_id, 0.5 if difference == 0 else float(difference > 0)))
    return win_rate(outcomes, confidence)


def judge_scores(
    ctx: Context, judge: str, candidates: Sequence[Candidate], of_prompts: Sequence[Prompt]
) -> dict[int, float]:
    """The judge's score of every candidate, by candidate id; only those not in the store are worked out."""
    with reading(ctx.engine) as session:
        values = scores.known(session, judge, [candidate.id for candidate in candidates])
    missing = [candidate for candidate in candidates if candidate.id not in values]
    if missing:
        kind, name = judge.split(":", 1)
        if kind == "taste":
            fresh = [utility(name, c.text, c.finish_reason) for c in missing]
        else:
            with reading(ctx.engine) as session:
                version = versions.by_name(session, name)
            fresh = ctx.reward_model(version).score(_rows(missing, of_prompts))
        values |= (new := {c.id: value for c, value in zip(missing, fresh, strict=True)})
        with writing(ctx.engine) as session:
            scores.store(session, judge, new)
    return values


def kl_to_base(ctx: Context, version: Version, candidates: Sequence[Candidate], of_prompts: Sequence[Prompt]) -> float:
    """Mean of log π(y) − log π_base(y) over the version's own completions, in nats per completion; 0 for the base.

    The k1 estimator (Schulman 2020, "Approximating KL divergence"), on completions drawn with the sampling settings:
    with temperature, top-k or top-p in force it measures those completions and not the full distribution.
    """
    base = ctx.base_version()
    if version.id == base.id:
        return 0.0
    ids = [candidate.id for candidate in candidates]
    totals = []
    for of_version in (version, base):
        judge = f"logprob:{of_version.name}"
        with reading(ctx.engine) as session:
            values = scores.known(session, judge, ids)
        if len(values) < len(ids):
            found = ctx.language_model(of_version).completion_logprobs(_rows(candidates, of_prompts))
            values = {c.id: total for c, (total, _) in zip(candidates, found, strict=True)}
            with writing(ctx.engine) as session:
                scores.store(session, judge, values)
        totals.append(sum(values[i] for i in ids) / len(ids))
    return totals[0] - totals[1]


def _describe(
    ctx: Context, version: Version, candidates: Sequence[Candidate], of_prompts: Sequence[Prompt]
) -> dict[str, float]:
    count = len(candidates)
    return {
        "mean_tokens": sum(c.token_count for c in candidates) / count,
        "ended": sum(c.finish_reason == "stop" for c in candidates) / count,
        "kl_to_base": kl_to_base(ctx, version, candidates, of_prompts),
    }


def _rows(
    candidates: Sequence[Candidate], of_prompts: Sequence[Prompt]
) -> list[tuple[list[dict[str, str]], str, bool]]:
    messages = {prompt.id: prompt.messages for prompt in of_prompts}
    return [(messages[c.prompt_id], c.text, c.finish_reason == "stop") for c in candidates]


def _checked(judge: str, reward_models: Sequence[str]) -> str:
    kind, _, name = judge.partition(":")
    known = {"taste": sorted(TASTES), "reward": list(reward_models)}
    if name not in known.get(kind, ()):
        every = [f"{k}:{n}" for k, names in known.items() for n in names]
        raise PrefloopError(f"unknown judge {judge!r}; known: {', '.join(every)}")
    return judge
