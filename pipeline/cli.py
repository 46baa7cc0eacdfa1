"""The command `prefloop`: parse, call, print. What takes long to import is imported inside the commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from db.errors import StoreError

from . import (
    cli_data,
    cli_house,
    cli_people,
    cli_queues,
    cli_schedule,
    cli_serve,
    cli_train,
    cli_users,
    cli_versions,
    demo,
    environment,
    report,
    workspace,
)
from .cli_common import AnnotatorKind, JsonFlag, annotators_kind, console, opened, print_json
from .errors import PrefloopError

environment.prepare()

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A self-hosted RLHF feedback loop: generate, label, train, compare, promote, generate again.",
)
app.add_typer(cli_data.prompts_app, name="prompts")
app.add_typer(cli_queues.queues_app, name="queues")
app.add_typer(cli_data.snapshot_app, name="snapshot")
app.add_typer(cli_users.users_app, name="users")
app.add_typer(cli_train.train_app, name="train")
app.add_typer(cli_versions.versions_app, name="versions")
app.add_typer(cli_versions.promotions_app, name="promotions")
app.add_typer(cli_versions.runs_app, name="runs")
app.add_typer(cli_schedule.schedule_app, name="schedule")
app.add_typer(cli_house.notify_app, name="notify")
for command in (
    cli_data.generate,
    cli_data.simulate,
    cli_versions.exam,
    cli_versions.compare,
    cli_people.plan,
    cli_versions.leaderboard,
    cli_versions.promote,
    cli_versions.rollback,
    cli_versions.drift,
    cli_serve.serve,
    cli_serve.chat,
    cli_schedule.tick,
    cli_schedule.worker,
    cli_schedule.run,
    cli_house.gc,
):
    app.command()(command)
app.command(hidden=True)(cli_schedule.stage)
cli_versions.versions_app.command("export")(cli_serve.export_version)
cli_versions.versions_app.command("card")(cli_serve.card)


@app.callback()
def main_options(
    workspace_folder: Annotated[
        Path | None,
        typer.Option("--workspace", "-w", help="The workspace; else $PREFLOOP_HOME, else the user's data folder."),
    ] = None,
) -> None:
    if workspace_folder is not None:
        os.environ["PREFLOOP_HOME"] = str(workspace_folder)


@app.command()
def init(folder: Annotated[Path | None, typer.Argument(help="Where; default as --workspace.")] = None) -> None:
    """Create a workspace: settings, store, folders. What is there stays."""
    made = workspace.init(folder or workspace.default_root())
    console.print(f"workspace in {made.root}\nsettings in {made.root / 'prefloop.toml'}", highlight=False)


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Say what is missing or unsafe, and how to mend it. Exit status 1 if something is."""
    from .doctor import examine

    findings = examine(workspace.find(workspace.default_root()))
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
    judgments: Annotated[int, typer.Option(min=1, help="Simulated judgments in a round.")] = demo.JUDGMENTS,
) -> None:
    """Run the whole loop on the embedded model with simulated annotators. Finished work is not done again."""
    workspace.init(workspace.default_root())
    with opened() as ctx:
        demo.run(ctx, rounds, taste, judgments)


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
            console.print(f"{waiting}\n\n    prefloop --workspace {workspace.default_root()} ui\n", highlight=False)
        if done:
            report.print_rounds(console, done)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 8501,
    annotator: Annotated[str, typer.Option(help="Who labels, where nobody logs in.")] = "me",
    auth: Annotated[str, typer.Option(help="How people log in: none, password or oidc.")] = "none",
    address: Annotated[str, typer.Option(help="Where to listen; others need --auth.")] = "127.0.0.1",
    behind_proxy: Annotated[bool, typer.Option("--behind-proxy", help="Believe a proxy on this machine.")] = False,
    host_name: Annotated[list[str] | None, typer.Option(help="A name under which people come; repeatable.")] = None,
) -> None:
    """Open the labeling UI on this workspace's store. docs/labeling.md says how a team shares it."""
    found = workspace.find(workspace.default_root())
    found.open_store().dispose()  # migrated, and an error here rather than in the browser
    command = [sys.executable, "-m", "labeling_ui", f"--port={port}", f"--annotator={annotator}", f"--auth={auth}"]
    command += [f"--address={address}", *(["--behind-proxy"] if behind_proxy else [])]
    command += [f"--host-name={name}" for name in host_name or []]
    command += [f"--secrets={found.root / 'secrets.toml'}"] if auth == "oidc" else []
    checkout = Path(__file__).resolve().parent.parent
    environment = {
        **os.environ,
        "PREFLOOP_STORE_URL": found.store_url,
        "PREFLOOP_HELDOUT_SHARE": str(found.settings.prompts.heldout_share),  # of uploaded prompts
    }
    serve = found.settings.serve
    host = f"[{serve.host}]" if ":" in serve.host else serve.host
    environment.setdefault("PREFLOOP_SERVE_URL", f"http://{host}:{serve.port}/v1")  # where the playground asks
    if serve.api_key_env in os.environ:
        environment.setdefault("PREFLOOP_SERVE_KEY", os.environ[serve.api_key_env])
    os.chdir(checkout)
    os.execve(sys.executable, command, environment)  # in this process's place: whoever ends it ends the server


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
