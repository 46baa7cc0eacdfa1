"""Charts of how versions stand and what they are like: drawn alike on the manager's pages and in saved pictures.

Colours are readable on light and dark ground. A chart takes the width of where it is shown; `framed` gives it its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from .standings import Line, Match, between

INK = "#3f8ca3"
_GREY = "#8a8a8a"
_CELLS = ["#e3bd92", "#efeeea", "#9cc4d0"]  # of the matrix: lost, even, won; dark letters are readable on each
_ROW = 34  # pixels, of a version
_HEIGHT = 240  # pixels, of a chart over an axis
_PERCENT = alt.Axis(format="%", tickCount=5)
_SHARE = alt.Scale(domain=[0, 1])


def leaderboard(lines: Sequence[Line]) -> Any:
    """Bradley–Terry scores, best first, with their intervals; 0 is the mean of the versions."""
    rows = pd.DataFrame(
        [{"version": each.version, "score": each.score, "low": each.low, "high": each.high} for each in lines]
    )
    x = alt.X("low:Q", title="strength, log-odds to the mean", scale=alt.Scale(zero=True))
    over = alt.Chart(rows).encode(y=_names("version", [each.version for each in lines]))
    return alt.layer(
        alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=_GREY, strokeDash=[4, 4]).encode(x="at:Q"),
        over.mark_rule(color=INK, strokeWidth=3, opacity=0.55).encode(x=x, x2="high:Q"),
        over.mark_circle(color=INK, size=90, opacity=1).encode(x="score:Q", tooltip=_tips(rows, ".2f")),
        height=_height(rows),
    )


def over_base(lines: Sequence[Line]) -> Any:
    """Win rates over the base as they were measured, with their intervals."""
    rows = pd.DataFrame(
        [
            {"version": each.version, "win rate": found.rate, "low": found.low, "high": found.high}
            for each in lines
            if (found := each.over_base)
        ],
        columns=["version", "win rate", "low", "high"],
    )
    names = [each.version for each in lines if each.over_base]
    over = alt.Chart(rows).encode(y=_names("version", names))
    x = alt.X("low:Q", title="win rate over the base", scale=_SHARE, axis=_PERCENT)
    return alt.layer(
        _even("x"),
        over.mark_rule(color=INK, strokeWidth=3, opacity=0.55).encode(x=x, x2="high:Q"),
        over.mark_circle(color=INK, size=90, opacity=1).encode(x="win rate:Q", tooltip=_tips(rows, ".0%")),
        height=_height(rows),
    )


def matrix(matches: Sequence[Match], names: Sequence[str]) -> Any:
    """The win rate of the version of each row over that of each column, where the two were compared."""
    cells = [
        {"version": a, "against": b, "win rate": found.rate, "comparisons": found.comparisons}
        for a in names
        for b in names
        if a != b and (found := between(matches, a, b))
    ]
    rows = pd.DataFrame(cells, columns=["version", "against", "win rate", "comparisons"])
    over = alt.Chart(rows).encode(
        y=_names("version", names),
        x=alt.X("against:N", title="against", sort=list(names), scale=alt.Scale(domain=list(names)),
                axis=alt.Axis(orient="top", labelAngle=0, labelOverlap=True)),
    )  # fmt: skip
    scale = alt.Scale(domain=[0, 0.5, 1], range=_CELLS)
    tips = [*_tips(rows.drop(columns="comparisons"), ".0%"), alt.Tooltip("comparisons:Q")]
    return alt.layer(
        over.mark_rect(cornerRadius=3).encode(color=alt.Color("win rate:Q", scale=scale, legend=None), tooltip=tips),
        over.mark_text(color="#1c1c1c", fontSize=12).encode(text=alt.Text("win rate:Q", format=".0%")),
        height=_height(names),
    )


def against_kl(lines: Sequence[Line], measured: Mapping[str, Mapping[str, float]]) -> Any | None:
    """Win rate over the base by KL to the base: what was gained, and how far it went for it. None without any."""
    rows = pd.DataFrame(
        [
            {
                "version": each.version,
                "KL": measured[each.version]["kl_to_base"],
                "win rate": each.over_base.rate,
                "low": each.over_base.low,
                "high": each.over_base.high,
            }
            for each in lines
            if each.over_base and each.version in measured
        ]
    )
    if not len(rows):
        return None
    # Room to the right for the name of the farthest one.
    reach = alt.Scale(domain=[min(0.0, rows["KL"].min()), 1.15 * max(rows["KL"].max(), 1.0)])
    over = alt.Chart(rows).encode(x=alt.X("KL:Q", title="KL to the base, nats a completion", scale=reach))
    y = alt.Y("low:Q", title="win rate over the base", scale=_SHARE, axis=_PERCENT)
    return alt.layer(
        _even("y"),
        over.mark_rule(color=INK, strokeWidth=3, opacity=0.55).encode(y=y, y2="high:Q"),
        over.mark_circle(color=INK, size=90, opacity=1).encode(y="win rate:Q", tooltip=_tips(rows, ".3~g")),
        over.mark_text(align="left", dx=8, dy=-8, color=_GREY, fontSize=12).encode(y="win rate:Q", text="version:N"),
        height=_HEIGHT,
    )


def paths(steps: Sequence[tuple[str, float, float]], kl_title: str) -> Any:
    """(run, KL, reward) of every step of RL runs, in order: the reward that was optimised against what it cost."""
    rows = pd.DataFrame([(*step, number) for number, step in enumerate(steps)], columns=["run", "KL", "reward", "step"])
    several = rows["run"].nunique() > 1
    return (
        alt.Chart(rows, height=_HEIGHT)
        .mark_line(point=alt.OverlayMarkDef(size=14), strokeWidth=1.5)
        .encode(
            x=alt.X("KL:Q", title=kl_title, scale=alt.Scale(zero=False)),
            y=alt.Y("reward:Q", title="reward", scale=alt.Scale(zero=False)),
            order="step:Q",
            color=alt.Color("run:N", title=None, legend=alt.Legend(orient="top")) if several else alt.value(INK),
            tooltip=["run:N", alt.Tooltip("KL:Q", format=".3~g"), alt.Tooltip("reward:Q", format=".3~g")],
        )
    )


def drift(values: Mapping[str, float], title: str, share: bool = False) -> Any:
    """One figure of version after version, in the order of the mapping."""
    rows = pd.DataFrame([{"version": name, title: value} for name, value in values.items()])
    format = ".0%" if share else ".3~g"
    lowest, highest = min(values.values()), max(values.values())
    scale = alt.Scale(domain=[min(0.0, lowest), highest or 1.0], nice=True)
    return (
        alt.Chart(rows, height=130)
        .mark_line(color=INK, point=alt.OverlayMarkDef(color=INK, size=50))
        .encode(
            x=alt.X("version:N", title=None, sort=list(values), axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y(f"{title}:Q", title=None, axis=alt.Axis(format=format, tickCount=4), scale=scale),
            tooltip=["version:N", alt.Tooltip(f"{title}:Q", format=format)],
        )
    )


def framed(chart: Any, title: str, width: int = 360) -> Any:
    """The chart for a picture, with its title and a width in pixels."""
    return chart.properties(title=title, width=width)


def _names(field: str, names: Sequence[str]) -> Any:
    return alt.Y(f"{field}:N", title=None, sort=list(names), scale=alt.Scale(domain=list(names)))


def _even(axis: str) -> Any:
    """The line at one half."""
    place = {axis: alt.X("at:Q") if axis == "x" else alt.Y("at:Q")}
    return alt.Chart(pd.DataFrame({"at": [0.5]})).mark_rule(color=_GREY, strokeDash=[4, 4]).encode(**place)


def _height(versions: Sequence[Any]) -> int:
    """Pixels, the axes included."""
    return _ROW * len(versions) + 60


def _tips(rows: pd.DataFrame, format: str) -> list[Any]:
    names = [name for name in rows.columns if name in ("version", "against")]
    numbers = [name for name in rows.columns if name not in names]
    return [*(f"{name}:N" for name in names), *(alt.Tooltip(f"{name}:Q", format=format) for name in numbers)]
