"""Comparisons, the gate's verdicts, promotions and drift as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from db.promotions import Move

from .gate import PEOPLE
from .report import PLAIN


def print_comparison(console: Console, report: dict[str, Any]) -> None:
    table = Table(
        "judge", "wins", "ties", "losses", f"win rate of {report['a']}", f"{report['confidence']:.0%} interval"
    )
    for judge, rate in report["judges"].items():
        table.add_row(
            escape(judge),
            str(rate["wins"]),
            str(rate["ties"]),
            str(rate["losses"]),
            f"{rate['rate']:.1%}",
            f"{rate['low']:.1%} to {rate['high']:.1%}",
        )
    console.print(f"{report['a']} against {report['b']} on {report['prompts']} held-out prompts", highlight=False)
    console.print(table)
    for judge, rate in report["judges"].items():
        if judge != PEOPLE:
            console.print(f"{judge} {agreement_words(rate['agreement'])}", highlight=False, markup=False)
        if rate["inconsistent"] or rate["unreadable"]:
            console.print(
                f"{judge}: {rate['inconsistent']} of the ties differ between the two orders; "
                f"{rate['unreadable']} verdicts are unreadable and count nowhere",
                highlight=False,
            )
        if rate["optimised"]:
            names = " and ".join(rate["optimised"])
            console.print(f"{judge} taught {names}: judged by its own teacher", style="yellow", highlight=False)
    for name, facts in report["versions"].items():
        console.print(
            f"{name}: {facts['mean_tokens']:.0f} tokens on average, {facts['ended']:.0%} ended by themselves, "
            f"KL to base {facts['kl_to_base']:.1f} nats, {facts['repetition']:.1%} repeats, {facts['refusal']:.0%} "
            f"refuse, distinct-2 {facts['distinct_2']:.2f}",
            highlight=False,
        )
    print_gate(console, report)


def agreement_words(found: Mapping[str, Any] | None) -> str:
    """How far a judge agrees with people (`JudgeAgreement` as plain values), after the judge's name."""
    if found is None:
        return "was not compared with people yet"
    kappa = "" if found["kappa"] is None else f" (kappa {found['kappa']:.2f})"
    return (
        f"agrees with people in {found['agreement']:.0%} [{found['low']:.0%}, {found['high']:.0%}] of {found['votes']} "
        f"votes on {found['pairs']} pairs{kappa}"
    )


def print_gate(console: Console, report: dict[str, Any]) -> None:
    """Every rule of the gate, with what was found and the limit."""
    verdict = "[green]passed[/]" if report["gate"]["passed"] else "[red]refused[/]"
    console.print(f"the gate, for {report['a']} in place of {report['b']}: {verdict}", highlight=False)
    table = Table(show_header=False, **PLAIN)
    for rule in report["gate"]["rules"]:
        table.add_row("[green]passed[/]" if rule["passed"] else "[red]failed[/]", escape(rule["words"]))
    console.print(table)


def print_moves(console: Console, moves: Sequence[Move]) -> None:
    """The history of `current`, a move a line: reasons are long, and wrap instead of crowding out the rest."""
    for move in moves:
        what = f"{move.kind}, forced" if move.forced else move.kind
        before = f", before {move.previous}" if move.previous else ""
        run = f", run {move.run_id}" if move.run_id else ""
        console.print(
            f"{move.created_at:%Y-%m-%d %H:%M}  {what}: {move.version}{before}{run}, by {move.actor}. {move.reason}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def print_drift(console: Console, report: dict[str, Any]) -> None:
    """What each version is like on the anchors, and what has moved."""
    console.print(f"{' → '.join(report['versions'])} on {report['anchors']} anchors", highlight=False)
    table = Table("version", "category", "tokens", "KL", "distinct-2", "repeats", "refuses", **PLAIN)
    for row in report["rows"]:
        table.add_row(
            row["version"],
            "all" if row["category"] is None else escape(row["category"] or "none"),
            f"{row['mean_tokens']:.0f}",
            f"{row['kl_to_base']:.1f}",
            f"{row['distinct_2']:.2f}",
            f"{row['repetition']:.1%}",
            f"{row['refusal']:.0%}",
        )
    console.print(table)
    current = report["versions"][-1]
    for change in report["changes"]:
        unknown = change["low"] is None
        bounds = "" if unknown else f" [{change['low']:+.3g}, {change['high']:+.3g}]"
        moved = "[yellow]moved[/]" if change["moved"] else "not shown to have moved"
        console.print(
            f"{change['measure']} of {current} since {change['since']}: {change['mean']:+.3g}{escape(bounds)}, {moved}",
            highlight=False,
        )
    for name, found in report["votes"].items():
        votes = (
            "no votes of people on anchors"
            if found is None
            else f"people prefer it in {found['rate']:.0%} [{found['low']:.0%}, {found['high']:.0%}] of "
            f"{found['comparisons']} votes on anchors"
        )
        console.print(f"{current} against {name}: {votes}", highlight=False, markup=False)
