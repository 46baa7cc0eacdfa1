"""The training steps: a snapshot (or plain text) goes in, a version comes out, and all between is on record."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from db import runs, snapshots, versions
from db.engine import reading, writing
from db.hashing import sha256_text
from db.tables import Round, Snapshot, Version
from db.words import VersionKind

from . import checkpoints
from .context import Context
from .demonstrations import DemonstrationRow
from .errors import PrefloopError
from .pairs import PreferenceRow, split_by_prompt
from .pictures import save_loss_picture
from .recorded_run import RecordedRun, fingerprint, finished_run, recorded
from .snapshot import Frozen, rebuild
from .texts import TextRow
from .thumbs import ThumbRow

if TYPE_CHECKING:  # torch stays out until something is trained
    from .training import OnMetrics, TrainResult

REWARD_HELDOUT_SHARE = 0.2  # of the snapshot's prompts, for the reward model's accuracy
Half = Literal["a", "b"]


def train_reward_version(
    ctx: Context,
    frozen: Frozen[PreferenceRow],
    round_: Round | None = None,
    seed: int | None = None,
    half: Half | None = None,
) -> Version:
    """A reward model from the snapshot; an equal one that is finished is returned instead.

    With `half` it learns from one half of the prompts alone, decided by their hash: two of different halves are judges
    that share no label.
    """
    from .reward_model import READS
    from .train_reward import RewardSettings, train_reward

    section = ctx.workspace.settings.reward
    settings = RewardSettings(**section.model_dump(), **shared(ctx))
    config = {**asdict(settings), "reads": READS}
    if half is not None:
        halves: dict[Half, list[PreferenceRow]] = dict(
            zip(("a", "b"), split_by_prompt(frozen.rows, 0.5, salt="half"), strict=True)
        )
        if not halves[half]:
            raise PrefloopError(
                f"half {half} of snapshot {frozen.snapshot.id} has no pair, the whole has {len(frozen.rows)}; label "
                "more, or do without a second judge (--second-judge none)"
            )
        frozen, config = replace(frozen, rows=halves[half]), {**config, "half": half}
    train_rows, heldout_rows = split_by_prompt(frozen.rows, REWARD_HELDOUT_SHARE)
    seed = ctx.workspace.settings.seed if seed is None else seed

    def work(run: RecordedRun, on_metrics: Any) -> Any:
        return train_reward(
            train_rows,
            heldout_rows,
            settings,
            ctx.base.folder,
            run.folder / "adapter",
            seed,
            on_metrics,
            ctx.workspace.chat_template(),
        )

    size = {"pairs": len(frozen.rows)}
    return train_version(ctx, "reward", config, seed, frozen.snapshot, size, ctx.base_version(), round_, work)


def second_judge_version(ctx: Context, first: Version, round_: Round | None = None) -> Version:
    """A reward model from the half of the prompts that `first` did not learn from, or from half "b" if it took all.

    Raises PrefloopError if there is no pair in that half.
    """
    assert first.snapshot_id is not None and first.run_id is not None, "a trained reward model has a snapshot and a run"
    with reading(ctx.engine) as session:
        snapshot = snapshots.get(session, first.snapshot_id)
        first_run = runs.get(session, first.run_id)
    half: Half = "a" if first_run.config.get("half") == "b" else "b"
    return train_reward_version(
        ctx, Frozen(snapshot, rebuild(ctx, snapshot), created=False), round_, first_run.seed + 1, half
    )


def train_dpo_version(
    ctx: Context, frozen: Frozen[PreferenceRow], parent: Version, round_: Round | None = None, seed: int | None = None
) -> Version:
    """A policy from the snapshot, starting at `parent`; an equal one that is finished is returned instead."""
    from .train_dpo import DpoSettings, train_dpo

    section = ctx.workspace.settings.dpo
    settings = DpoSettings(**section.model_dump(), **shared(ctx))
    seed = ctx.workspace.settings.seed if seed is None else seed

    work = _work_from(ctx, parent, partial(train_dpo, frozen.rows, settings), seed)
    size = {"pairs": len(frozen.rows)}
    return train_version(ctx, "dpo", asdict(settings), seed, frozen.snapshot, size, parent, round_, work)


def train_sft_version(
    ctx: Context, data: Frozen[DemonstrationRow] | Sequence[TextRow], parent: Version, seed: int | None = None
) -> Version:
    """A policy from demonstrations, or from plain text, starting at `parent`; an equal finished one is returned."""
    from .train_sft import SftSettings, train_sft

    settings = SftSettings(**ctx.workspace.settings.sft.model_dump(), **shared(ctx))
    seed = ctx.workspace.settings.seed if seed is None else seed
    config = asdict(settings)
    snapshot: Snapshot | None = None
    rows: Sequence[DemonstrationRow] | Sequence[TextRow]
    if isinstance(data, Frozen):
        snapshot, rows, size = data.snapshot, data.rows, {"demonstrations": len(data.rows)}
    else:
        rows, size = data, {"texts": len(data)}
        config["texts"] = [{"name": row.name, "sha256": sha256_text(row.text)} for row in data]

    work = _work_from(ctx, parent, partial(train_sft, rows, settings), seed)
    return train_version(ctx, "sft", config, seed, snapshot, size, parent, None, work)


def train_kto_version(ctx: Context, frozen: Frozen[ThumbRow], parent: Version, seed: int | None = None) -> Version:
    """A policy from thumbs, starting at `parent`; an equal one that is finished is returned instead."""
    from .train_kto import KtoSettings, train_kto

    settings = KtoSettings(**ctx.workspace.settings.kto.model_dump(), **shared(ctx))
    seed = ctx.workspace.settings.seed if seed is None else seed

    work = _work_from(ctx, parent, partial(train_kto, frozen.rows, settings), seed)
    size = {"thumbs": len(frozen.rows)}
    return train_version(ctx, "kto", asdict(settings), seed, frozen.snapshot, size, parent, None, work)


def _work_from(ctx: Context, parent: Version, train: Callable[..., TrainResult], seed: int) -> Any:
    """What `train_version` calls, of a stage that has its rows and settings already and starts at `parent`."""

    def work(run: RecordedRun, on_metrics: OnMetrics) -> TrainResult:
        out, template = run.folder / "adapter", ctx.workspace.chat_template()
        return train(ctx.base.folder, ctx.adapter(parent), out, seed, on_metrics, template)

    return work


def shared(ctx: Context) -> dict[str, Any]:
    """The settings that all stages have in common."""
    from .training import LoraSettings

    settings = ctx.workspace.settings
    return {
        "lora": LoraSettings(**settings.lora.model_dump()),
        "dtype": settings.model.dtype,
        "load_in_4bit": settings.model.load_in_4bit,
        "checkpoint_steps": settings.training.checkpoint_steps,
    }


def train_version(
    ctx: Context,
    stage: str,
    config: dict[str, Any],
    seed: int,
    snapshot: Snapshot | None,
    size: dict[str, int],
    parent: Version,
    round_: Round | None,
    work: Any,
    also: Sequence[str | None] = (),
    note: dict[str, Any] | None = None,
) -> Version:
    """The version that `work` makes, stored with its run; that of an equal run that is finished is returned instead.

    `size` counts what is learned from ({"pairs": 120}); it is shown, and stored in the summary. Equal means the same
    stage, config, seed, snapshot, parent, and the hashes in `also`. `note` is recorded in the config and decides
    nothing.
    """
    deciding = {key: value for key, value in config.items() if key != "checkpoint_steps"}  # which changes no result
    content = snapshot.sha256 if snapshot is not None else None
    mark = fingerprint(stage, deciding, seed, content, parent.base_sha256, parent.adapter_sha256, *also)
    done = finished_run(ctx, mark)
    if done is not None:
        # Killed once the version was stored, it had no time to clear up.
        shutil.rmtree(checkpoints.root_of(ctx.workspace.artifacts / f"runs/{done.id}/adapter"), ignore_errors=True)
        with reading(ctx.engine) as session:
            made = versions.made_by(session, done.id)
        if made.adapter_removed_at is not None:
            ctx.say(f"{versions.without_adapter(made)}, and this would make it again; another seed makes a new one")
        return made
    ctx.release_models()
    config = {**config, **(note or {})}
    counted = ", ".join(f"{count} {name}" for name, count in size.items())
    with (
        recorded(ctx, stage, config, seed, mark, snapshot, parent, round_) as run,
        ctx.progress(f"train {stage} ({counted})", 0, "steps", whole=True) as progress,
    ):

        def on_metrics(new: Sequence[tuple[str, int, float]], step: int, steps: int) -> None:
            run.add_metrics(new)
            told = [f"{name} {value:.3f}" for name, _, value in new if name in ("loss", "reward")]
            progress.at(step, "".join(told[-1:]), steps)

        try:
            result = work(run, on_metrics)
        finally:
            shutil.rmtree(run.folder / "adapter.partial", ignore_errors=True)
        save_loss_picture(result.metrics, run.folder / "loss.png", stage)
        summary = {**result.summary, "seconds": round(result.seconds, 1), **size}
        kind: VersionKind = "reward" if stage == "reward" else "policy"
        with writing(ctx.engine) as session:
            version = versions.create(
                session,
                kind,
                versions.next_name(session, kind),
                base_model=parent.base_model,
                base_sha256=parent.base_sha256,
                adapter_path=f"runs/{run.id}/adapter",
                adapter_sha256=result.adapter_sha256,
                parent_id=parent.id,
                run_id=run.id,
                snapshot_id=snapshot.id if snapshot is not None else None,
                actor=ctx.actor,
            )
            run.finish(session, summary, result.tokens, result.peak_memory_bytes)
        shutil.rmtree(checkpoints.root_of(result.adapter), ignore_errors=True)
    return version
