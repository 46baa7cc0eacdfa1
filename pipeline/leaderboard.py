"""The leaderboard: how versions stand by each judge, from all that was compared and voted so far.

The manager's page shows the same (labeling_ui/office_versions.py): both ask `db.compared` and `stats.standings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from db import compared, versions
from db.engine import reading

from .context import Context
from .report_compare import agreement_words
from .stats import standings
from .stats.standings import PEOPLE, Judged


@dataclass(frozen=True)
class Board:
    judges: dict[str, Judged]  # people first
    measured: dict[str, dict[str, float]]  # by version: what the newest comparison says it is like
    current: str | None


def board(ctx: Context) -> Board:
    with reading(ctx.engine) as session:
        reports = [report.found for report in compared.reports(session)]
        judges = standings.judged(reports, compared.votes(session), compared.bases(session))
        current = versions.current(session)
    return Board(judges, standings.measured(reports), current.name if current else None)


def rows(found: Board) -> list[dict[str, Any]]:
    """A row for each judge and version, best first. `rate` to `prompts`: against the base, None if never compared."""
    return [
        {
            "judge": judge,
            "version": line.version,
            "current": line.version == found.current,
            "rank": line.rank,
            "best_rank": line.best_rank,
            "worst_rank": line.worst_rank,
            "score": line.score,
            "score_low": line.low,
            "score_high": line.high,
            "confidence": judged.standings.confidence,
            "against": over.b if (over := line.over_base) else None,
            **{name: getattr(over, name, None) for name in ("rate", "low", "high", "prompts")},
            **found.measured.get(line.version, {}),
        }
        for judge, judged in found.judges.items()
        for line in judged.standings.lines
    ]


def show(console: Console, found: Board) -> None:
    """A table for each judge; they fit 80 columns."""
    lines = rows(found)
    if not lines:
        console.print("no versions were compared yet; run `prefloop compare VERSION v0`")
        return
    console.print(
        f"each judge apart; intervals {lines[0]['confidence']:.0%}; strength in log-odds, 0 the mean of the versions",
        style="dim",
        highlight=False,
    )
    for judge, judged in found.judges.items():
        console.print(_of_judge(judge, [row for row in lines if row["judge"] == judge]))
        if judge != PEOPLE:
            console.print(f"{judge} {agreement_words(judged.agreement)}", style="dim", highlight=False, markup=False)


def _of_judge(judge: str, lines: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title=f"\n{escape(judge)}", title_justify="left", title_style="bold")
    for column in ("rank", "version", "over the base", "strength", "tokens", "KL"):
        table.add_column(column, no_wrap=True, justify="right" if column in ("tokens", "KL") else "left")
    for row in lines:
        known = row["best_rank"] == row["worst_rank"]
        table.add_row(
            f"{row['rank']}" if known else f"{row['rank']} ({row['best_rank']}-{row['worst_rank']})",
            row["version"] + (" (current)" if row["current"] else ""),
            "–" if row["rate"] is None else f"{row['rate']:.0%} [{row['low']:.0%}, {row['high']:.0%}]",
            f"{row['score']:+.1f} [{row['score_low']:+.1f}, {row['score_high']:+.1f}]",
            f"{row['mean_tokens']:.0f}" if "mean_tokens" in row else "–",
            f"{row['kl_to_base']:.1f}" if "kl_to_base" in row else "–",
        )
    return table


def save_picture(found: Board, path: Path) -> None:
    """Leaderboard, matrix and reward versus KL, a row for each judge, as a PNG or SVG by the file's name."""
    from .pictures import save_standings_picture

    save_standings_picture(found.judges, found.measured, path)


def picture_of(ctx: Context, run_id: int) -> Path:
    """The picture in the folder of a compare run: how versions stood when it was first drawn."""
    path = ctx.workspace.artifacts / "runs" / str(run_id) / "standings.png"
    if not path.exists():
        save_picture(board(ctx), path)
    return path
