"""Candidates into the store: what is missing is generated, batch by batch, each batch in a transaction of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from db import candidates
from db.engine import reading, writing
from db.tables import Candidate, Prompt, Version

from .context import Context
from .sections import SamplingSection


@dataclass(frozen=True)
class Drawn:
    """The candidates asked for, ordered by (prompt, sample), and what it took."""

    candidates: list[Candidate]
    generated: int
    tokens: int
    seconds: float


def draw(
    ctx: Context,
    version: Version,
    prompts: Sequence[Prompt],
    samples: int,
    sampling: SamplingSection,
    seed: int,
    title: str = "generate",
) -> Drawn:
    """`samples` completions of every prompt by the version. A repeated call fills only what is missing.

    The model is loaded only if something is.
    """
    settings = sampling.model_dump()
    prompt_ids = [prompt.id for prompt in prompts]
    wanted = {(prompt_id, index) for prompt_id in prompt_ids for index in range(samples)}
    with reading(ctx.engine) as session:
        have = candidates.existing(session, version.id, settings, seed, prompt_ids) & wanted
    started, tokens, generated = time.monotonic(), 0, 0
    if have != wanted:
        from .generate import Request, Sampling, generate

        requests = [
            Request(prompt.id, prompt.sha256, tuple(prompt.messages), index)
            for prompt in prompts
            for index in range(samples)
        ]
        lm = ctx.language_model(version)
        budget = ctx.workspace.settings.generate.token_budget
        with ctx.progress(f"{title} ({version.name})", len(wanted), "completions", len(have)) as progress:
            for batch in generate(lm, requests, Sampling(**settings), seed, budget, frozenset(have)):
                with writing(ctx.engine) as session:
                    generated += candidates.store(session, version.id, settings, seed, batch)
                tokens += sum(completion.token_count for completion in batch)
                progress.advance(len(batch), f"{tokens / (time.monotonic() - started):.0f} tok/s")
    with reading(ctx.engine) as session:
        rows = candidates.of_version(session, version.id, settings, seed, prompt_ids)
    rows = [row for row in rows if row.sample_index < samples]
    return Drawn(rows, generated, tokens, time.monotonic() - started)


def rows_of(
    candidates: Sequence[Candidate], of_prompts: Sequence[Prompt]
) -> list[tuple[list[dict[str, str]], str, bool]]:
    """(conversation, text, ended by itself) of every candidate, which models score; `of_prompts` has the prompts."""
    messages = {prompt.id: prompt.messages for prompt in of_prompts}
    return [(messages[c.prompt_id], c.text, c.finish_reason == "stop") for c in candidates]
