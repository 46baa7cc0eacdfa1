"""Facts about a workspace as plain values (for --json) and as tables (for people)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from db import comparisons, judgments, prompts, runs, snapshots, versions
from db.engine import reading
from db.tables import Version

from . import notify
from .context import Context
from .doctor import Finding
from .garbage import Garbage

PLAIN: dict[str, Any] = {"box": None, "padding": (0, 2, 0, 0)}  # no frames: more fits into 80 columns
COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def status(ctx: Context) -> dict[str, Any]:
    told = notify.standing(ctx)
    with reading(ctx.engine) as session:
        current = versions.current(session)
        counted = judgments.counts(session)
        newest = runs.list_runs(session, limit=1)
        return {
            "workspace": str(ctx.workspace.root),
            "prompts": prompts.count_by_split(session),
            "judgments": {kind: sum(choices.values()) for kind, choices in counted.items()},
            "choices": counted,
            "owed": {kind: comparisons.open_count(session, kind=kind) for kind in ("human", "simulated")},
            "snapshots": len(snapshots.list_snapshots(session)),
            "versions": [version.name for version in versions.list_versions(session)],
            "current": current.name if current else None,
            "last_run": {"id": newest[0].id, "stage": newest[0].stage, "state": newest[0].state} if newest else None,
            **({"notifications": told} if told else {}),
        }


def print_status(console: Console, facts: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        table.add_row(key, escape(", ".join(shown) if isinstance(shown, list) else str(shown)))
    console.print(table)


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    table = Table(box=None, show_header=False)
    for finding in findings:
        remedy = f"\n→ {finding.remedy}" if finding.remedy else ""
        table.add_row(
            f"[{COLOURS[finding.level]}]{finding.level}[/]", finding.subject, escape(f"{finding.found}{remedy}")
        )
    console.print(table)


def print_rounds(console: Console, summaries: Sequence[dict[str, Any]]) -> None:
    """The loop's tables, one line a round: what came of it, and where the seconds went. They fit 80 columns."""
    judge, confidence = summaries[-1]["judge"], summaries[-1]["confidence"]
    kinds = " and ".join(sorted({summary["annotators"] for summary in summaries}))
    results = Table(title=f"{kinds} annotators; win rate over the base by {judge}", title_justify="left", **PLAIN)
    for column in ("round", "version", "judged", "reward acc.", f"win rate [{confidence:.0%}]", "tokens", "KL"):
        results.add_column(column, justify="left" if column == "version" else "right", no_wrap=True)
    stages = list(summaries[-1]["seconds"])
    seconds = Table("round", *stages, title="seconds", title_justify="left", **PLAIN)
    for summary in summaries:
        number, rate, accuracy = str(summary["round"]), summary["against_base"][judge], summary["reward_accuracy"]
        results.add_row(
            number,
            f"{summary['version']} {'promoted' if summary['promoted'] else 'not better'}",
            f"{summary['judgments']}",
            "–" if accuracy is None else f"{accuracy:.0%} of {summary['reward_heldout_pairs']}{_mark(summary)}",
            f"{rate['rate']:.0%} [{rate['low']:.0%}, {rate['high']:.0%}]",
            f"{summary['mean_tokens']:.0f}",
            f"{summary['kl_to_base']:.1f}",
        )
        seconds.add_row(number, *(f"{summary['seconds'].get(stage, 0):.0f}" for stage in stages))
    console.print(results)
    console.print(
        f"judged: judgments used; reward acc.: the reward model's, on held-out pairs, ✓ if it passed its exam; "
        f"tokens: mean length, "
        f"{summaries[-1]['base_mean_tokens']:.0f} for the base; KL: nats a completion, to the base",
        style="dim",
        highlight=False,
    )
    console.print(seconds)


def _mark(summary: dict[str, Any]) -> str:
    exam = summary.get("exam")  # a round of before there were exams has none
    return "" if exam is None else " ✓" if exam["passed"] else " ✗"


def print_exam(console: Console, exam: dict[str, Any]) -> None:
    """The exam's rules, each with its figure, and what is measured beside them. Fits 80 columns."""
    verdict = "[green]passed[/]" if exam["passed"] else "[red]failed[/]"
    console.print(f"exam of {exam['version']} on {exam['pairs']} held-out pairs: {verdict}", highlight=False)
    table = Table("rule", "found", "", **PLAIN)
    for rule in exam["rules"]:
        table.add_row(rule["name"], escape(rule["found"]), "[green]passed[/]" if rule["passed"] else "[red]failed[/]")
    console.print(table)
    for asked in dict.fromkeys(rule["asked"] for rule in exam["rules"]):
        console.print(f"asked: {asked}", style="dim", highlight=False)
    ceiling, beside = exam["ceiling"], exam["with_annotators"]
    lines = {
        "human ceiling": "not known: every pair was judged once"
        if ceiling is None
        else f"two annotators agree in {_rate(ceiling)} of {ceiling['comparisons']} pairs of votes; "
        f"the model with one of them in {_rate(beside)}",
        "calibration": f"error {exam['calibration_error']:.2f}" if exam["calibration_error"] is not None else None,
        "length": _length(exam["length"]),
    }
    for name, text in lines.items():
        if text:
            console.print(f"{name}: {text}", highlight=False)


def _rate(rate: dict[str, Any]) -> str:
    return escape(f"{rate['rate']:.0%} [{rate['low']:.0%}, {rate['high']:.0%}]")


def _length(length: dict[str, Any]) -> str | None:
    if not length["pairs"]:
        return None
    correlation = "" if length["spearman"] is None else f"Spearman {length['spearman']:+.2f} with the score; "
    return (
        f"{correlation}of {length['pairs']} pairs the longer text scores higher in "
        f"{length['longer_scored_higher']:.0%}, and was chosen in {length['longer_chosen']:.0%}"
    )


def version_rows(ctx: Context) -> list[dict[str, Any]]:
    with reading(ctx.engine) as session:
        rows = versions.list_versions(session)
        current = versions.current(session)
    names = {row.id: row.name for row in rows}
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "current": bool(current and current.id == row.id),
            "parent": names.get(row.parent_id) if row.parent_id else None,
            "snapshot": row.snapshot_id,
            "run": row.run_id,
            "sha256": (row.adapter_sha256 or row.base_sha256)[:8],
            "stale": row.stale_reason,
            "adapter": "removed" if row.adapter_removed_at else "there" if row.adapter_path else None,
            "created": f"{row.created_at:%m-%d %H:%M}",
        }
        for row in rows
    ]


def run_rows(ctx: Context, limit: int) -> list[dict[str, Any]]:
    with reading(ctx.engine) as session:
        return [
            {
                "id": row.id,
                "stage": row.stage,
                "state": row.state,
                "snapshot": row.snapshot_id,
                "started": f"{row.started_at:%Y-%m-%d %H:%M}" if row.started_at else None,
                "seconds": (row.finished_at - row.started_at).total_seconds()
                if row.finished_at and row.started_at
                else None,
                "error": row.error,
            }
            for row in runs.list_runs(session, limit=limit)
        ]


def print_rows(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        console.print("none yet")
        return
    table = Table(**PLAIN)
    for name in rows[0]:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*("–" if value is None else escape(_short(value)) for value in row.values()))
    console.print(table)


def print_version(console: Console, ctx: Context, version: Version) -> None:
    with reading(ctx.engine) as session:
        run = runs.get(session, version.run_id) if version.run_id else None
        parent = versions.get(session, version.parent_id) if version.parent_id else None
    folder = ctx.workspace.artifacts / run.folder if run and run.folder else None
    adapter = f"{ctx.workspace.artifacts / version.adapter_path}" if version.adapter_path else None
    facts: dict[str, Any] = {
        "version": f"{version.name} ({version.kind})",
        "base": f"{version.base_model} {version.base_sha256[:12]}",
        "parent": parent.name if parent else None,
        "adapter": adapter if version.adapter_removed_at is None else versions.without_adapter(version),
        "sha256": version.adapter_sha256,
        "snapshot": version.snapshot_id,
        "run": f"{run.id}: {run.summary}" if run else None,
        "pictures": "\n".join(map(str, sorted(folder.glob("*.png")))) if folder else None,
        "stale": version.stale_reason,
    }
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        if value is not None:
            table.add_row(key, escape(str(value)))
    console.print(table)


def print_garbage(console: Console, found: Sequence[Garbage], title: str) -> None:
    """What goes, why, and how much that is."""
    table = Table(title=title, title_justify="left", **PLAIN)
    for name in ("what", "where", "why"):
        table.add_column(name, overflow="fold")
    table.add_column("MB", justify="right")
    for each in found:
        table.add_row(each.kind, escape(each.path), escape(each.why), f"{each.bytes / 1e6:,.1f}")
    table.add_row("all", "", "", f"{sum(each.bytes for each in found) / 1e6:,.1f}")
    console.print(table)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return {True: "yes", False: ""}[value] if isinstance(value, bool) else str(value)
