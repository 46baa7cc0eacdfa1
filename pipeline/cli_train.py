"""Commands that train: one for each stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from db import snapshots, versions
from db.engine import reading
from db.tables import Version

from . import report
from .cli_common import AnnotatorKind, annotators_kind, console, opened
from .context import Context
from .errors import PrefloopError

if TYPE_CHECKING:
    from .pairs import Shape
    from .snapshot import Frozen

train_app = typer.Typer(no_args_is_help=True, help="Train a reward model or a policy on a snapshot.")


def _frozen(ctx: Context, snapshot: str | None, annotators: str, shape: Shape = "pairs") -> Frozen[Any]:
    from .pairs import RowPolicy
    from .snapshot import Frozen, freeze, rebuild, shape_of

    if snapshot is None:
        return freeze(ctx, RowPolicy(shape=shape, annotators=annotators_kind(annotators)))
    with reading(ctx.engine) as session:
        row = snapshots.get(session, snapshot)
    if shape_of(row) != shape:
        raise PrefloopError(
            f"snapshot {row.id} holds {shape_of(row)}, and this stage learns from {shape}; "
            f"make one with `prefloop snapshot create --shape {shape}`"
        )
    return Frozen(row, rebuild(ctx, row), created=False)


def _start(ctx: Context, parent: str | None) -> Version:
    from .promote import ensure_current

    current = ensure_current(ctx)
    if parent is None:
        return current
    with reading(ctx.engine) as session:
        start = versions.by_name(session, parent)
    if start.kind != "policy":
        raise PrefloopError(f"--parent {parent} is a {start.kind} model; a policy starts from a policy, as v0")
    return start


ParentOption = Annotated[str | None, typer.Option(help="Version to start from; default the current one.")]
SnapshotOption = Annotated[str | None, typer.Option(help="Id or sha256 prefix; default: freeze today's judgments.")]


@train_app.command("reward")
def train_reward(
    snapshot: SnapshotOption = None,
    annotators: AnnotatorKind = "human",
    half: Annotated[
        Literal["a", "b"] | None,
        typer.Option(help="Learn from one half of the prompts; the other is a second judge's."),
    ] = None,
    seed: int | None = None,
) -> None:
    """Train a reward model."""
    from .train import train_reward_version

    with opened() as ctx:
        version = train_reward_version(ctx, _frozen(ctx, snapshot, annotators), seed=seed, half=half)
        report.print_version(console, ctx, version)


@train_app.command("dpo")
def train_dpo(
    snapshot: SnapshotOption = None,
    annotators: AnnotatorKind = "human",
    parent: ParentOption = None,
    seed: int | None = None,
) -> None:
    """Train a policy by direct preference optimisation."""
    from .train import train_dpo_version

    with opened() as ctx:
        version = train_dpo_version(ctx, _frozen(ctx, snapshot, annotators), _start(ctx, parent), seed=seed)
        report.print_version(console, ctx, version)


RewardOption = Annotated[str | None, typer.Option("--reward", help="Reward model to optimise against.")]
RuleOption = Annotated[
    list[str] | None, typer.Option("--rule", help="name=weight, instead of those in rl.rules; may be repeated.")
]
SecondJudgeOption = Annotated[
    str | None,
    typer.Option("--second-judge", help="Watches for reward hacking: auto, none, reward:NAME or taste:NAME."),
]
AcceptOption = Annotated[
    bool, typer.Option("--accept-failed-exam", help="Use a reward model without a passed exam; it is recorded.")
]


@train_app.command("ppo")
def train_ppo(
    reward: Annotated[str, typer.Option("--reward", help="Reward model to optimise against.")],
    second_judge: SecondJudgeOption = None,
    parent: ParentOption = None,
    accept_failed_exam: AcceptOption = False,
    seed: int | None = None,
) -> None:
    """Train a policy by PPO: one base model as policy, reference, reward model and value function."""
    from .train_by_reward import train_ppo_version

    with opened() as ctx:
        with reading(ctx.engine) as session:
            model = versions.by_name(session, reward)
        version = train_ppo_version(ctx, _start(ctx, parent), model, second_judge, accept_failed_exam, seed=seed)
        report.print_version(console, ctx, version)


@train_app.command("rloo")
def train_rloo(
    reward: RewardOption = None,
    rule: RuleOption = None,
    second_judge: SecondJudgeOption = None,
    parent: ParentOption = None,
    accept_failed_exam: AcceptOption = False,
    seed: int | None = None,
) -> None:
    """Train a policy by RLOO: each completion against the mean of its siblings."""
    _train_online("rloo", reward, rule, second_judge, parent, accept_failed_exam, seed)


@train_app.command("grpo")
def train_grpo(
    reward: RewardOption = None,
    rule: RuleOption = None,
    second_judge: SecondJudgeOption = None,
    parent: ParentOption = None,
    accept_failed_exam: AcceptOption = False,
    seed: int | None = None,
) -> None:
    """Train a policy by GRPO: each completion against its group, token by token."""
    _train_online("grpo", reward, rule, second_judge, parent, accept_failed_exam, seed)


def _train_online(
    algorithm: Literal["rloo", "grpo"],
    reward: str | None,
    rules: list[str] | None,
    second_judge: str | None,
    parent: str | None,
    accept_failed_exam: bool,
    seed: int | None,
) -> None:
    from .train_by_reward import train_online_version

    with opened() as ctx:
        with reading(ctx.engine) as session:
            model = versions.by_name(session, reward) if reward else None
        version = train_online_version(
            ctx, algorithm, _start(ctx, parent), model, rules, second_judge, accept_failed_exam, seed=seed
        )
        report.print_version(console, ctx, version)


@train_app.command("sft")
def train_sft(
    text: Annotated[
        list[Path] | None, typer.Option(help="A plain text file to continue pre-training on; may be repeated.")
    ] = None,
    snapshot: SnapshotOption = None,
    annotators: AnnotatorKind = "human",
    parent: ParentOption = None,
    seed: int | None = None,
) -> None:
    """Train a policy on edits and demonstrations, or with --text on plain text."""
    from .texts import read_texts
    from .train import train_sft_version

    if text and snapshot is not None:
        raise PrefloopError(f"--text and --snapshot {snapshot} are two trainings; do one, then the other by --parent")
    texts = read_texts(text or [])
    with opened() as ctx:
        start = _start(ctx, parent)
        version = train_sft_version(
            ctx, texts or _frozen(ctx, snapshot, annotators, "demonstrations"), start, seed=seed
        )
        report.print_version(console, ctx, version)


@train_app.command("kto")
def train_kto(
    snapshot: SnapshotOption = None,
    annotators: AnnotatorKind = "human",
    parent: ParentOption = None,
    seed: int | None = None,
) -> None:
    """Train a policy on thumbs and ratings."""
    from .train import train_kto_version

    with opened() as ctx:
        version = train_kto_version(ctx, _frozen(ctx, snapshot, annotators, "thumbs"), _start(ctx, parent), seed=seed)
        report.print_version(console, ctx, version)
