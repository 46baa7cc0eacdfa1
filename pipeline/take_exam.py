"""The exam's step: a reward model of the store is examined on the held-out pairs of its own snapshot, on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from db import snapshots
from db.engine import reading, writing
from db.tables import Round, Version

from .context import Context
from .errors import PrefloopError
from .pairs import split_by_prompt
from .pictures import save_reliability_picture
from .probes import PROBES
from .recorded_run import fingerprint, finished_run, recorded
from .snapshot import rebuild, shared
from .train import REWARD_HELDOUT_SHARE


def take_exam(ctx: Context, version: Version, round_: Round | None = None) -> tuple[int, dict[str, Any]]:
    """(run id, summary) of the reward model's exam. An equal one that is finished is read, not taken again.

    The summary is `exam.ExamResult` as plain values, with `version` and `confidence`; `passed` and `reasons` are what
    others ask for. `runs.newest_finished(session, "exam", version.id)` finds it. Raises PrefloopError for a policy.
    """
    from .exam import ExamSettings, Text, examine

    if version.kind != "reward" or version.snapshot_id is None:
        raise PrefloopError(f"{version.name} is no reward model with a snapshot; see `prefloop versions list`")
    section = ctx.workspace.settings.exam
    settings = ExamSettings(**{**section.model_dump(), "allowed": tuple(section.allowed)})
    with reading(ctx.engine) as session:
        snapshot = snapshots.get(session, version.snapshot_id)
    config = {**asdict(settings), "reward_model": version.name, "heldout_share": REWARD_HELDOUT_SHARE}
    mark = fingerprint("exam", config, 0, snapshot.sha256, version.base_sha256, version.adapter_sha256)
    done = finished_run(ctx, mark)
    if done is not None and done.summary is not None:
        return done.id, done.summary

    _, rows = split_by_prompt(rebuild(ctx, snapshot), REWARD_HELDOUT_SHARE)
    _, shared_rows = split_by_prompt(shared(ctx, snapshot), REWARD_HELDOUT_SHARE)
    ctx.release_models()
    looks = 5 + len(PROBES)
    with (
        recorded(ctx, "exam", config, 0, mark, snapshot, version, round_) as run,
        ctx.progress(f"examine {version.name}", looks, "looks", whole=True) as progress,
    ):
        model = ctx.reward_model(version)

        def score(texts: Sequence[Text]) -> list[float]:
            scores = model.score(texts)
            progress.advance()
            return scores

        result = examine(score, rows, shared_rows, settings)
        save_reliability_picture(
            result.calibration_bins, result.calibration_error, run.folder / "reliability.png", version.name
        )
        summary = {"version": version.name, "confidence": settings.confidence, **asdict(result)}
        with writing(ctx.engine) as session:
            run.finish(session, summary)
    return run.id, summary
