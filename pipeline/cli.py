"""The command `prefloop`: parse, call, print. What takes long to import is imported inside the commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from db import annotators, judgments, prompts, runs, snapshots, versions
from db.engine import reading, writing
from db.errors import StoreError

from . import demo, environment, import_prompts, report, workspace
from .context import Context
from .errors import PrefloopError

environment.prepare()

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A self-hosted RLHF feedback loop: generate, label, train, compare, promote, generate again.",
)
prompts_app = typer.Typer(no_args_is_help=True, help="Prompts: import, add, list.")
snapshot_app = typer.Typer(no_args_is_help=True, help="Snapshots: judgments frozen into training rows.")
train_app = typer.Typer(no_args_is_help=True, help="Train a reward model or a policy on a snapshot.")
versions_app = typer.Typer(no_args_is_help=True, help="Versions of the policy and of reward models.")
runs_app = typer.Typer(no_args_is_help=True, help="Runs: what was executed, with which result.")
for name, group in {
    "prompts": prompts_app,
    "snapshot": snapshot_app,
    "train": train_app,
    "versions": versions_app,
    "runs": runs_app,
}.items():
    app.add_typer(group, name=name)

console = Console()
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="The workspace folder; default $PREFLOOP_HOME, or the user's data folder."),
]
AnnotatorKind = Annotated[str, typer.Option("--annotators", help="Whose judgments: human or simulated.")]
root: Path = workspace.default_root()


@app.callback()
def main_options(workspace_folder: WorkspaceOption = None) -> None:
    global root
    root = workspace_folder or workspace.default_root()


@contextmanager
def opened(quiet: bool = False) -> Iterator[Context]:
    """The workspace and its store. `quiet` sends progress to stderr, so that --json prints JSON alone."""
    found = workspace.find(root)
    engine = found.open_store()
    try:
        yield Context(found, engine, Console(stderr=True) if quiet else console, actor=os.environ.get("USER", "cli"))
    finally:
        engine.dispose()


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


@app.command()
def init(folder: Annotated[Path | None, typer.Argument(help="Where; default as --workspace.")] = None) -> None:
    """Create a workspace: settings, store, folders. What is there stays."""
    made = workspace.init(folder or root)
    console.print(f"workspace in {made.root}\nsettings in {made.root / 'prefloop.toml'}", highlight=False)


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Say what is missing or unsafe, and how to mend it. Exit status 1 if something is."""
    from .doctor import examine

    findings = examine(workspace.find(root))
    if as_json:
        print_json([finding.__dict__ for finding in findings])
    else:
        report.print_findings(console, findings)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Where the loop stands: prompts, judgments, versions, the current one, runs."""
    with opened(quiet=as_json) as ctx:
        facts = report.status(ctx)
    if as_json:
        print_json(facts)
    else:
        report.print_status(console, facts)


@app.command("demo")
def demo_command(
    rounds: Annotated[int, typer.Option(help="Rounds of the loop.")] = 2,
    taste: Annotated[str, typer.Option(help="The planted taste: concise, structured or warm.")] = "concise",
) -> None:
    """Run the whole loop on the embedded model with simulated annotators. Finished work is not done again."""
    workspace.init(root)
    with opened() as ctx:
        demo.run(ctx, rounds, taste)


@app.command()
def loop(
    rounds: Annotated[int, typer.Option(help="Up to and including this round.")] = 1,
    annotators: AnnotatorKind = "human",
    name: Annotated[str, typer.Option(help="Name of this loop.")] = "main",
) -> None:
    """Run the loop: generate, label, train, compare, promote. Waits for people where their judgments are owed."""
    from .loop import LabelsOwed, run_round

    with opened() as ctx:
        done = []
        try:
            for number in range(1, rounds + 1):
                done.append(run_round(ctx, name, number, annotators_kind(annotators)))
        except LabelsOwed as waiting:
            console.print(f"{waiting}\n\n    prefloop --workspace {root} ui\n", highlight=False)
        if done:
            report.print_rounds(console, done)


def annotators_kind(text: str) -> Any:
    if text not in ("human", "simulated"):
        raise PrefloopError(f"--annotators {text!r}: use human or simulated")
    return text


# --- prompts ---------------------------------------------------------------------------------------------------------


@prompts_app.command("import")
def prompts_import(
    file: Annotated[
        Path | None, typer.Argument(help="A .txt, .csv or .jsonl file; none: the built-in prompts.")
    ] = None,
    category: Annotated[str, typer.Option(help="Category of all of them.")] = "",
    strict: Annotated[bool, typer.Option(help="Import nothing if one line is bad.")] = False,
) -> None:
    """Import prompts. Duplicates are counted and not stored twice; bad lines are reported and left out."""
    found = import_prompts.read(file, category) if file else import_prompts.builtin()
    for bad in found.bad:
        console.print(f"[yellow]{escape(str(bad))}[/yellow]", highlight=False)
    if found.bad and strict:
        raise PrefloopError(f"{len(found.bad)} bad lines and --strict: nothing was imported")
    with opened() as ctx, writing(ctx.engine) as session:
        result = prompts.add_many(
            session, found.items, heldout_share=ctx.workspace.settings.prompts.heldout_share, actor=ctx.actor
        )
    console.print(f"{result.added} prompts added, {result.duplicates} duplicates, {len(found.bad)} bad lines")


@prompts_app.command("add")
def prompts_add(text: str, category: str = "") -> None:
    """Add one prompt."""
    with opened() as ctx, writing(ctx.engine) as session:
        message = [{"role": "user", "content": text}]
        share = ctx.workspace.settings.prompts.heldout_share
        added = prompts.add(session, message, category, "cli", heldout_share=share, actor=ctx.actor)
    console.print(f"prompt {added.id} {'added' if added.created else 'was there already'}")


@prompts_app.command("list")
def prompts_list(split: str | None = None, category: str | None = None, as_json: JsonFlag = False) -> None:
    """List prompts."""
    if split not in (None, "train", "heldout"):
        raise PrefloopError(f"--split {split!r}: use train or heldout")
    with opened() as ctx, reading(ctx.engine) as session:
        rows = prompts.list_prompts(session, split=split, category=category)  # type: ignore[arg-type]
        facts = [{"id": r.id, "split": r.split, "category": r.category, "messages": r.messages} for r in rows]
    if as_json:
        print_json(facts)
        return
    table = Table("id", "split", "category", "last turn")
    for fact in facts:
        table.add_row(str(fact["id"]), fact["split"], fact["category"], escape(fact["messages"][-1]["content"][:90]))
    console.print(table)


# --- generate and label ----------------------------------------------------------------------------------------------


@app.command()
def generate(
    version: Annotated[str | None, typer.Option(help="Name of the version; default the current one.")] = None,
    samples: Annotated[int | None, typer.Option(min=2, help="Candidates a prompt.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Prompts; default all of the train split.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed draws other candidates.")] = None,
    ask: Annotated[bool, typer.Option(help="Also ask annotators to compare two of each prompt's candidates.")] = True,
) -> None:
    """Write candidates for prompts and queue comparisons of them. Only what is missing is generated."""
    from .ask import ask as ask_about
    from .draw import draw
    from .promote import ensure_current

    with opened() as ctx:
        settings = ctx.workspace.settings
        current = ensure_current(ctx)
        with reading(ctx.engine) as session:
            policy = versions.by_name(session, version) if version else current
            chosen = prompts.list_prompts(session, split="train")[:limit]
        if not chosen:
            raise PrefloopError("there are no prompts to generate for; run `prefloop prompts import`")
        count = samples or settings.generate.candidates_per_prompt
        drawn = draw(ctx, policy, chosen, count, settings.sampling, settings.seed if seed is None else seed)
        asked = ask_about(ctx, drawn.candidates, None, settings.label.overlap, settings.seed) if ask else 0
    rate = f", {drawn.tokens / drawn.seconds:.0f} tokens/s" if drawn.tokens else ""
    console.print(f"{drawn.generated} candidates written{rate}; {asked} comparisons queued", highlight=False)


@app.command()
def simulate(
    taste: Annotated[str | None, typer.Option(help="concise, structured or warm; default as in prefloop.toml.")] = None,
) -> None:
    """Let simulated annotators judge everything that is owed. Their judgments stay marked as simulated."""
    from .ask import simulate as simulate_all

    with opened() as ctx:
        settings = ctx.workspace.settings
        section = settings.simulate.model_copy(update={"taste": taste} if taste else {})
        choices = simulate_all(ctx, section, settings.seed)
    console.print(f"{choices.total()} simulated judgments: {dict(choices)}", highlight=False)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 8501,
    annotator: Annotated[str, typer.Option(help="Name that the judgments are stored under.")] = "me",
) -> None:
    """Open the labeling UI on this workspace's store."""
    found = workspace.find(root)
    found.open_store().dispose()  # migrated, and an error here rather than in the browser
    command = [sys.executable, "-m", "labeling_ui", "--port", str(port), "--annotator", annotator]
    checkout = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PREFLOOP_STORE_URL": found.store_url}
    raise typer.Exit(subprocess.run(command, cwd=checkout, env=environment, check=False).returncode)


# --- snapshots and training ------------------------------------------------------------------------------------------


@snapshot_app.command("create")
def snapshot_create(annotators: AnnotatorKind = "human") -> None:
    """Freeze today's judgments into training rows."""
    from .pairs import PairPolicy
    from .snapshot import freeze

    with opened() as ctx:
        frozen = freeze(ctx, PairPolicy(annotators=annotators_kind(annotators)))
    word = "created" if frozen.created else "exists already"
    console.print(f"snapshot {frozen.snapshot.id} {word}: {frozen.snapshot.counts}", highlight=False)


@snapshot_app.command("show")
def snapshot_show(snapshot: str, rows: bool = False, as_json: JsonFlag = False) -> None:
    """One snapshot by id or sha256 prefix: policy, counts, and with --rows the training rows."""
    from .snapshot import rebuild

    with opened(quiet=as_json) as ctx:
        with reading(ctx.engine) as session:
            row = snapshots.get(session, snapshot)
        facts = {"id": row.id, "sha256": row.sha256, "policy": row.policy, "counts": row.counts}
        if rows:
            facts["rows"] = [pair.__dict__ for pair in rebuild(ctx, row)]
    print_json(facts)


def _frozen(ctx: Context, snapshot: str | None, annotators: str) -> Any:
    from .pairs import PairPolicy
    from .snapshot import Frozen, freeze, rebuild

    if snapshot is None:
        return freeze(ctx, PairPolicy(annotators=annotators_kind(annotators)))
    with reading(ctx.engine) as session:
        row = snapshots.get(session, snapshot)
    return Frozen(row, rebuild(ctx, row), created=False)


SnapshotOption = Annotated[str | None, typer.Option(help="Id or sha256 prefix; default: freeze today's judgments.")]


@train_app.command("reward")
def train_reward(snapshot: SnapshotOption = None, annotators: AnnotatorKind = "human", seed: int | None = None) -> None:
    """Train a reward model."""
    from .train import train_reward_version

    with opened() as ctx:
        version = train_reward_version(ctx, _frozen(ctx, snapshot, annotators), seed=seed)
        report.print_version(console, ctx, version)


@train_app.command("dpo")
def train_dpo(
    snapshot: SnapshotOption = None,
    annotators: AnnotatorKind = "human",
    parent: Annotated[str | None, typer.Option(help="Version to start from; default the current one.")] = None,
    seed: int | None = None,
) -> None:
    """Train a policy by direct preference optimisation."""
    from .promote import ensure_current
    from .train import train_dpo_version

    with opened() as ctx:
        start = ensure_current(ctx)
        if parent:
            with reading(ctx.engine) as session:
                start = versions.by_name(session, parent)
        version = train_dpo_version(ctx, _frozen(ctx, snapshot, annotators), start, seed=seed)
        report.print_version(console, ctx, version)


# --- compare and promote ---------------------------------------------------------------------------------------------


def _default_judge(ctx: Context) -> str:
    with reading(ctx.engine) as session:
        rewards = versions.list_versions(session, "reward")
    if not rewards:
        raise PrefloopError("no judge: there is no reward model yet; train one, or name one with --judge taste:NAME")
    return f"reward:{rewards[-1].name}"


JudgeOption = Annotated[list[str] | None, typer.Option("--judge", help="reward:NAME or taste:NAME; may be repeated.")]


@app.command()
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


@app.command()
def leaderboard(as_json: JsonFlag = False) -> None:
    """Every policy against the base, from the comparisons made so far."""
    with opened(quiet=as_json) as ctx:
        rows = report.leaderboard(ctx)
    if as_json:
        print_json(rows)
    else:
        report.print_leaderboard(console, rows)


@app.command()
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


@app.command()
def rollback(reason: str = "") -> None:
    """Move `current` back to the version before the last promotion."""
    with opened() as ctx, writing(ctx.engine) as session:
        move = versions.rollback(session, ctx.actor, reason)
        now = versions.get(session, move.version_id).name
    console.print(f"rolled back: {now} is current")


# --- versions, runs, verify ------------------------------------------------------------------------------------------


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


@app.command()
def verify(as_json: JsonFlag = False) -> None:
    """Check the store and the artifacts: hashes, foreign keys, leakage, orphans. Exit status 1 if damage is found."""
    from .verify import verify as find_damage

    with opened(quiet=as_json) as ctx:
        damage = find_damage(ctx)
    if as_json:
        print_json([found.__dict__ for found in damage])
    else:
        for found in damage:
            console.print(f"[red]{found.kind}[/red] {escape(found.subject)}: {escape(found.problem)}", highlight=False)
        console.print(f"{len(damage)} problems found" if damage else "all promises hold")
    if damage:
        raise typer.Exit(1)


@app.command("users")
def users() -> None:
    """List annotators, people and simulated ones."""
    with opened() as ctx, reading(ctx.engine) as session:
        rows = [{"name": a.name, "kind": a.kind, "role": a.role} for a in annotators.list_annotators(session)]
        counted = judgments.counts(session)
    report.print_rows(console, rows)
    console.print(f"judgments: {counted}", highlight=False)


def main() -> None:
    """Run the command line. Errors that the user can mend are one clean line on stderr and status 1."""
    try:
        app()
    except (PrefloopError, StoreError) as error:
        Console(stderr=True).print(f"[red]Error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("\ninterrupted; what was finished is kept", highlight=False)
        sys.exit(130)
