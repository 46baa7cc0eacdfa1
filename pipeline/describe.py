"""What a version's completions are like: length, distance to the base, and how they read as texts."""

from __future__ import annotations

from collections.abc import Sequence

from db import scores
from db.engine import reading, writing
from db.tables import Candidate, Prompt, Version

from . import text_measures
from .context import Context
from .draw import rows_of


def describe(
    ctx: Context, version: Version, candidates: Sequence[Candidate], of_prompts: Sequence[Prompt]
) -> dict[str, float]:
    """Figures of the version's own completions, at least one.

    `mean_tokens`; `ended`, the share that ended by themselves; `kl_to_base`, the mean of `kl_terms`; and of
    `text_measures`: `repetition` (mean), `refusal` (share), `distinct_2` (of all together).
    """
    count, texts = len(candidates), [candidate.text for candidate in candidates]
    return {
        "mean_tokens": sum(candidate.token_count for candidate in candidates) / count,
        "ended": sum(candidate.finish_reason == "stop" for candidate in candidates) / count,
        "kl_to_base": sum(kl_terms(ctx, version, candidates, of_prompts).values()) / count,
        "repetition": sum(map(text_measures.repetition, texts)) / count,
        "refusal": sum(map(text_measures.is_refusal, texts)) / count,
        "distinct_2": text_measures.distinct(texts, 2),
    }


def kl_terms(
    ctx: Context, version: Version, candidates: Sequence[Candidate], of_prompts: Sequence[Prompt]
) -> dict[int, float]:
    """log π(y) − log π_base(y) of the version's own completions, in nats, by candidate id; 0 for the base.

    Their mean is the k1 estimator of the KL divergence (Schulman 2020, "Approximating KL divergence"), on completions
    drawn with the sampling settings: with temperature, top-k or top-p in force it measures those completions and not
    the full distribution.
    """
    base = ctx.base_version()
    ids = [candidate.id for candidate in candidates]
    if version.id == base.id:
        return dict.fromkeys(ids, 0.0)
    ours, of_base = (_logprobs(ctx, of_version, candidates, of_prompts) for of_version in (version, base))
    return {i: ours[i] - of_base[i] for i in ids}


def _logprobs(
    ctx: Context, version: Version, candidates: Sequence[Candidate], of_prompts: Sequence[Prompt]
) -> dict[int, float]:
    """log-probabilities of completions by candidate id, in nats; only those not in the store are worked out."""
    judge = f"logprob:{version.name}"
    with reading(ctx.engine) as session:
        values = scores.known(session, judge, [candidate.id for candidate in candidates])
    missing = [candidate for candidate in candidates if candidate.id not in values]
    if missing:
        found = ctx.language_model(version).completion_logprobs(rows_of(missing, of_prompts))
        new = {candidate.id: total for candidate, (total, _) in zip(missing, found, strict=True)}
        with writing(ctx.engine) as session:
            scores.store(session, judge, new)
        values |= new
    return values
