"""Drift: what promotion after promotion does to the model, on a frozen set of held-out prompts (the anchors).

Every promotion is a comparison with the version before it; many small steps can lead far away with each of them
allowed. So the first version, the previous and the current one answer the same anchors with the same sampling and seed
as in `compare`, and what there is of these completions is read from the store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from db import anchors, evaluations, versions
from db.engine import reading, writing
from db.tables import Candidate, Prompt, Version

from . import people, text_measures
from .context import Context
from .describe import describe
from .draw import draw
from .errors import PrefloopError
from .pictures import save_drift_picture
from .recorded_run import fingerprint, finished_run, recorded

PICTURE = "drift.png"
CHANGES: dict[str, Callable[[Candidate], float]] = {  # of one completion, by the name that `describe` gives the mean
    "mean_tokens": lambda candidate: candidate.token_count,
    "repetition": lambda candidate: text_measures.repetition(candidate.text),
    "refusal": lambda candidate: text_measures.is_refusal(candidate.text),
}


def drift(ctx: Context) -> tuple[int, dict[str, Any]]:
    """(run id, report). An equal one that is finished is read, not made again; its picture is in the run's folder.

    - `rows`: for every version and category of the anchors, and for all together (category None), what `describe` says
    - `changes`: of the current version against each earlier one, the mean difference of a measure with its interval
    - `votes`: of people on anchors, for the current version against each earlier one, as in the report of `compare`
    """
    settings = ctx.workspace.settings
    sampling, seed, confidence = settings.sampling, settings.compare.seed, settings.compare.confidence
    with writing(ctx.engine) as session:
        shown = _versions(versions.first(session), versions.previous(session), versions.current(session))
        chosen = anchors.ensure(session, settings.drift.prompts, ctx.actor)
    current = shown[-1]
    with reading(ctx.engine) as session:
        votes = {
            version.name: [
                vote
                for vote in evaluations.votes(session, current.id, version.id, "human", sampling.model_dump(), seed)
                if vote.prompt_id in {prompt.id for prompt in chosen}
            ]
            for version in shown[:-1]
        }
    config = {
        "versions": [version.name for version in shown],
        "sampling": sampling.model_dump(),
        "samples_per_prompt": settings.compare.samples_per_prompt,
        "confidence": confidence,
        "votes": {name: people.evidence(given, confidence) for name, given in votes.items()},
    }
    hashes = [*(v.adapter_sha256 for v in shown), *(v.base_sha256 for v in shown), *(p.sha256 for p in chosen)]
    mark = fingerprint("drift", config, seed, *hashes)
    done = finished_run(ctx, mark)
    if done is not None and done.summary is not None:
        return done.id, done.summary

    with recorded(ctx, "drift", config, seed, mark, version=current) as run:
        drawn = {
            version.name: draw(
                ctx, version, chosen, settings.compare.samples_per_prompt, sampling, seed, "anchors"
            ).candidates
            for version in shown
        }
        report: dict[str, Any] = {
            "versions": config["versions"],
            "anchors": len(chosen),
            "confidence": confidence,
            "rows": [row for version in shown for row in _rows(ctx, version, drawn[version.name], chosen)],
            "changes": [
                {
                    "since": version.name,
                    "measure": measure,
                    **change(drawn[current.name], drawn[version.name], of, confidence),
                }
                for version in shown[:-1]
                for measure, of in CHANGES.items()
            ],
            "votes": config["votes"],
        }
        save_drift_picture(report["rows"], run.folder / PICTURE, f"{len(chosen)} anchors")
        with writing(ctx.engine) as session:
            run.finish(session, report)
    return run.id, report


def change(
    ours: Sequence[Candidate], theirs: Sequence[Candidate], measure: Callable[[Candidate], float], confidence: float
) -> dict[str, Any]:
    """The mean difference of a measure between answers to the same prompts: `mean`, `low`, `high`, `moved`.

    Student's t on the differences of the prompts' means; `moved` says that the interval leaves out 0. With one prompt
    nothing is known: the bounds are None.
    """
    by_prompt: dict[int, list[list[float]]] = defaultdict(lambda: [[], []])
    for side, candidates in enumerate((ours, theirs)):
        for candidate in candidates:
            by_prompt[candidate.prompt_id][side].append(float(measure(candidate)))
    differences = np.array([np.mean(mine) - np.mean(other) for mine, other in by_prompt.values()])
    mean = float(differences.mean())
    if len(differences) < 2:
        return {"mean": mean, "low": None, "high": None, "moved": False}
    error = differences.std(ddof=1) / len(differences) ** 0.5
    half = float(stdtrit(len(differences) - 1, (1 + confidence) / 2) * error)
    return {"mean": mean, "low": mean - half, "high": mean + half, "moved": abs(mean) > half}


def _versions(*found: Version | None) -> list[Version]:
    """Each once, oldest first, the current one last. Raises PrefloopError when nothing moved since the first."""
    shown = list({version.id: version for version in found if version is not None}.values())
    if found[-1] is None or len(shown) < 2:
        raise PrefloopError("only the first version was ever current: nothing can have drifted; promote another one")
    return [*(version for version in shown if version.id != found[-1].id), found[-1]]


def _rows(
    ctx: Context, version: Version, candidates: Sequence[Candidate], of_prompts: Sequence[Prompt]
) -> list[dict[str, Any]]:
    category = {prompt.id: prompt.category for prompt in of_prompts}
    groups: dict[str | None, list[Candidate]] = {None: list(candidates)}
    for candidate in candidates:
        groups.setdefault(category[candidate.prompt_id], []).append(candidate)
    return [
        {
            "version": version.name,
            "category": name,
            "prompts": len({candidate.prompt_id for candidate in group}),
            **describe(ctx, version, group, of_prompts),
        }
        for name, group in groups.items()
    ]
