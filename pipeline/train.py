"""The training steps: a snapshot (or plain text) goes in, a version comes out, and all between is on record."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from db import versions
from db.engine import reading, writing
from db.hashing import sha256_text
from db.tables import Round, Version
from db.words import VersionKind

from . import checkpoints
from .context import Context
from .demonstrations import DemonstrationRow
from .pairs import PreferenceRow, split_by_prompt
from .pictures import save_loss_picture
from .recorded_run import RecordedRun, fingerprint, finished_run, recorded
from .snapshot import Frozen, shape_of
from .texts import TextRow
from .thumbs import ThumbRow

REWARD_HELDOUT_SHARE = 0.2  # of the snapshot's prompts, for the reward model's accuracy


def train_reward_version(
    ctx: Context, frozen: Frozen[PreferenceRow], round_: Round | None = None, seed: int | None = None
) -> Version:
    """A reward model from the snapshot; an equal one that is finished is returned instead."""
    from .train_reward import RewardSettings, train_reward

    section = ctx.workspace.settings.reward
    settings = RewardSettings(**section.model_dump(), **_shared(ctx))
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

    return _train_version(ctx, "reward", asdict(settings), seed, frozen, ctx.base_version(), round_, work)


def train_dpo_version(
    ctx: Context, frozen: Frozen[PreferenceRow], parent: Version, round_: Round | None = None, seed: int | None = None
) -> Version:
    """A policy from the snapshot, starting at `parent`; an equal one that is finished is returned instead."""
    from .train_dpo import DpoSettings, train_dpo

    section = ctx.workspace.settings.dpo
    settings = DpoSettings(**section.model_dump(), **_shared(ctx))
    seed = ctx.workspace.settings.seed if seed is None else seed

    def work(run: RecordedRun, on_metrics: Any) -> Any:
        return train_dpo(
            frozen.rows,
            settings,
            ctx.base.folder,
            ctx.adapter(parent),
            run.folder / "adapter",
            seed,
            on_metrics,
            ctx.workspace.chat_template(),
        )

    return _train_version(ctx, "dpo", asdict(settings), seed, frozen, parent, round_, work)


def train_sft_version(
    ctx: Context, data: Frozen[DemonstrationRow] | Sequence[TextRow], parent: Version, seed: int | None = None
) -> Version:
    """A policy from demonstrations, or from plain text, starting at `parent`; an equal finished one is returned."""
    from .train_sft import SftSettings, train_sft

    settings = SftSettings(**ctx.workspace.settings.sft.model_dump(), **_shared(ctx))
    seed = ctx.workspace.settings.seed if seed is None else seed
    config = asdict(settings)
    frozen: Frozen[DemonstrationRow] | None = None
    rows: Sequence[DemonstrationRow] | Sequence[TextRow]
    if isinstance(data, Frozen):
        frozen, rows = data, data.rows
    else:
        rows = data
        config["texts"] = [{"name": row.name, "sha256": sha256_text(row.text)} for row in data]

    def work(run: RecordedRun, on_metrics: Any) -> Any:
        return train_sft(
            rows,
            settings,
            ctx.base.folder,
            ctx.adapter(parent),
            run.folder / "adapter",
            seed,
            on_metrics,
            ctx.workspace.chat_template(),
        )

    return _train_version(ctx, "sft", config, seed, frozen, parent, None, work)


def train_kto_version(ctx: Context, frozen: Frozen[ThumbRow], parent: Version, seed: int | None = None) -> Version:
    """A policy from thumbs, starting at `parent`; an equal one that is finished is returned instead."""
    from .train_kto import KtoSettings, train_kto

    settings = KtoSettings(**ctx.workspace.settings.kto.model_dump(), **_shared(ctx))
    seed = ctx.workspace.settings.seed if seed is None else seed

    def work(run: RecordedRun, on_metrics: Any) -> Any:
        return train_kto(
            frozen.rows,
            settings,
            ctx.base.folder,
            ctx.adapter(parent),
            run.folder / "adapter",
            seed,
            on_metrics,
            ctx.workspace.chat_template(),
        )

    return _train_version(ctx, "kto", asdict(settings), seed, frozen, parent, None, work)


def _shared(ctx: Context) -> dict[str, Any]:
    """The settings that all stages have in common."""
    from .training import LoraSettings

    settings = ctx.workspace.settings
    return {
        "lora": LoraSettings(**settings.lora.model_dump()),
        "dtype": settings.model.dtype,
        "load_in_4bit": settings.model.load_in_4bit,
        "checkpoint_steps": settings.training.checkpoint_steps,
    }


def _train_version(
    ctx: Context,
    stage: str,
    config: dict[str, Any],
    seed: int,
    frozen: Frozen[Any] | None,
    parent: Version,
    round_: Round | None,
    work: Any,
) -> Version:
    """Run `work` on record and store what it made. Without a snapshot `config` names the data by its hashes."""
    snapshot = frozen.snapshot if frozen else None
    data = {shape_of(frozen.snapshot): len(frozen.rows)} if frozen else {"texts": len(config["texts"])}
    ((shape, count),) = data.items()
    deciding = {key: value for key, value in config.items() if key != "checkpoint_steps"}  # which changes no result
    mark = fingerprint(
        stage, deciding, seed, snapshot.sha256 if snapshot else None, parent.base_sha256, parent.adapter_sha256
    )
    done = finished_run(ctx, mark)
    if done is not None:
        with reading(ctx.engine) as session:
            return versions.made_by(session, done.id)
    ctx.release_models()
    with recorded(ctx, stage, config, seed, mark, snapshot, parent, round_) as run, ctx.progress() as progress:
        task = progress.add_task(f"train {stage} ({count} {shape})", total=100, rate="")

        def on_metrics(new: Sequence[tuple[str, int, float]], share: float) -> None:
            run.add_metrics(new)
            progress.update(task, completed=round(100 * share))
            for name, _, value in new:
                if name == "loss":
                    progress.update(task, rate=f"loss {value:.3f}")

        try:
            result = work(run, on_metrics)
        finally:
            shutil.rmtree(run.folder / "adapter.partial", ignore_errors=True)
        save_loss_picture(result.metrics, run.folder / "loss.png", stage)
        summary = {**result.summary, "seconds": round(result.seconds, 1), **data}
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
                snapshot_id=snapshot.id if snapshot else None,
                actor=ctx.actor,
            )
            run.finish(session, summary, result.tokens, result.peak_memory_bytes)
        shutil.rmtree(checkpoints.root_of(result.adapter), ignore_errors=True)
    return version
