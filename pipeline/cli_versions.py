"""Commands on versions and runs: train, compare, promote, roll back, look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from db import runs, snapshots, versions
from db.engine import reading, writing
from db.tables import Version

from . import report
from .cli_common import AnnotatorKind, JsonFlag, annotators_kind, console, opened, print_json
from .context import Context
from .errors import PrefloopError

if TYPE_CHECKING:
    from .pairs import Shape
    from .snapshot import Frozen

train_app = typer.Typer(no_args_is_help=True, help="Train a reward model or a policy on a snapshot.")
versions_app = typer.Typer(no_args_is_help=True, help="Versions of the policy and of reward models.")
runs_app = typer.Typer(no_args_is_help=True, help="Runs: what was executed, with which result.")


def _frozen(ctx: Context, snapshot: str | None, annotators: str, shape: Shape = "pairs") -> Frozen[Any]:
    from .pairs import PairPolicy
    from .snapshot import Frozen, freeze, rebuild, shape_of

    if snapshot is None:
        return freeze(ctx, PairPolicy(shape=shape, annotators=annotators_kind(annotators)))
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


def exam(reward_model: str, as_json: JsonFlag = False) -> None:
    """Examine a reward model: accuracy, calibration, length, planted tricks. Exit status 1 if it fails."""
    from .take_exam import take_exam

    with opened(quiet=as_json) as ctx:
        with reading(ctx.engine) as session:
            version = versions.by_name(session, reward_model)
        run_id, result = take_exam(ctx, version)
        picture = ctx.workspace.artifacts / "runs" / str(run_id) / "reliability.png"
    if as_json:
        print_json(result)
    else:
        report.print_exam(console, result)
        console.print(f"picture: {picture}", style="dim", highlight=False, soft_wrap=True)
    if not result["passed"]:
        raise typer.Exit(1)


def _default_judge(ctx: Context) -> str:
    with reading(ctx.engine) as session:
        rewards = versions.list_versions(session, "reward")
    if not rewards:
        raise PrefloopError("no judge: there is no reward model yet; train one, or name one with --judge taste:NAME")
    return f"reward:{rewards[-1].name}"


JudgeOption = Annotated[list[str] | None, typer.Option("--judge", help="reward:NAME or taste:NAME; may be repeated.")]


def compare(a: str, b: str, judge: JudgeOption = None, as_json: JsonFlag = False) -> None:
    """Compare two versions on the held-out prompts."""
    from .compare import compare as compare_versions

    with opened(quiet=as_json) as ctx:
        with reading(ctx.engine) as session:
            first, second = versions.by_name(session, a), versions.by_name(session, b)
        _, result = compare_versions(ctx, first, second, judge or [_default_judge(ctx)])
    if as_json:
        print_json(result)
    else:
        report.print_comparison(console, result)


def leaderboard(as_json: JsonFlag = False) -> None:
    """Every policy against the base, from the comparisons made so far."""
    with opened(quiet=as_json) as ctx:
        rows = report.leaderboard(ctx)
    if as_json:
        print_json(rows)
    else:
        report.print_leaderboard(console, rows)


def promote(version: str, judge: Annotated[str | None, typer.Option(help="The deciding judge.")] = None) -> None:
    """Make a version current if it is shown to be better than the current one; otherwise say why not (status 1)."""
    from .compare import compare as compare_versions
    from .promote import ensure_current, promote_if_better

    with opened() as ctx:
        current = ensure_current(ctx)
        with reading(ctx.engine) as session:
            candidate = versions.by_name(session, version)
        deciding = judge or _default_judge(ctx)
        run_id, result = compare_versions(ctx, candidate, current, [deciding])
        decision = promote_if_better(ctx, candidate, run_id, result, deciding)
    console.print(f"{'promoted' if decision.promote else 'not promoted'}: {decision.reason}", highlight=False)
    if not decision.promote:
        raise typer.Exit(1)


def rollback(reason: str = "") -> None:
    """Move `current` back to the version before the last promotion."""
    with opened() as ctx, writing(ctx.engine) as session:
        move = versions.rollback(session, ctx.actor, reason)
        now = versions.get(session, move.version_id).name
    console.print(f"rolled back: {now} is current")


@versions_app.command("list")
def versions_list(as_json: JsonFlag = False) -> None:
    """All versions, oldest first."""
    with opened(quiet=as_json) as ctx:
        rows = report.version_rows(ctx)
    if as_json:
        print_json(rows)
    else:
        report.print_rows(console, rows)


@versions_app.command("show")
def versions_show(name: str) -> None:
    """One version: where it comes from and what it was trained on."""
    with opened() as ctx:
        with reading(ctx.engine) as session:
            version = versions.by_name(session, name)
        report.print_version(console, ctx, version)


@runs_app.command("list")
def runs_list(limit: int = 20, as_json: JsonFlag = False) -> None:
    """The newest runs."""
    with opened(quiet=as_json) as ctx:
        rows = report.run_rows(ctx, limit)
    if as_json:
        print_json(rows)
    else:
        report.print_rows(console, rows)


@runs_app.command("show")
def runs_show(run: int) -> None:
    """One run as JSON: config, summary, metrics, error, folder."""
    with opened(quiet=True) as ctx, reading(ctx.engine) as session:
        row = runs.get(session, run)
        facts = {column.name: getattr(row, column.name) for column in row.__table__.columns}
        facts["metrics"] = runs.metrics(session, run)
    print_json(facts)
