"""Pictures that are saved with a run, drawn with altair as in the UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from .stats import charts
from .stats.calibration import Bin
from .stats.parting import LEAST_STEPS, parted_at, smooth, window
from .stats.standings import Judged


def save_loss_picture(metrics: Sequence[tuple[str, int, float]], path: Path, title: str) -> None:
    """Loss by step, as a PNG."""
    rows = pd.DataFrame([{"step": step, "loss": value} for name, step, value in metrics if name == "loss"])
    chart = (
        alt.Chart(rows, title=f"{title}: training loss", width=480, height=260)
        .mark_line(point=True)
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("loss:Q", title="loss (nats)", scale=alt.Scale(zero=False)),
        )
    )
    chart.save(path, scale_factor=2)


def save_reliability_picture(bins: Sequence[Bin], error: float | None, path: Path, title: str) -> None:
    """Accuracy by the model's confidence, with intervals, beside the diagonal of perfect calibration, as a PNG."""
    rows = pd.DataFrame(
        [asdict(each) for each in bins], columns=["confidence", "accuracy", "low", "high", "pairs"], dtype=float
    )
    scale = alt.Scale(domain=[0, 1])
    shown = "no pairs" if error is None else f"calibration error {error:.2f}"
    points = alt.Chart(rows, title=f"{title}: {shown}", width=320, height=320).encode(
        x=alt.X("confidence:Q", title="confidence in its own order of a pair", scale=alt.Scale(domain=[0.5, 1]))
    )
    diagonal = alt.Chart(pd.DataFrame({"at": [0.5, 1.0]})).mark_line(color="grey", strokeDash=[4, 4])
    chart = (
        diagonal.encode(x="at:Q", y="at:Q")
        + points.mark_rule().encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
        + points.mark_circle(opacity=1).encode(
            y=alt.Y("accuracy:Q", title="accuracy", scale=scale), size=alt.Size("pairs:Q", title="pairs")
        )
    )
    chart.save(path, scale_factor=2)


def save_judges_picture(metrics: Sequence[tuple[str, int, float]], path: Path, title: str) -> int | None:
    """The reward that was optimised and the second judge's over steps, as a PNG; the step where they part, or None.

    `metrics` are (name, step, value) rows; `reward` and `second_reward` are drawn, the latter where it was measured.
    Each is standardised over the run (mean 0, standard deviation 1), for the two have no common scale: thin as
    measured, thick smoothed.
    """
    curves = {
        label: {step: value for name, step, value in metrics if name == metric}
        for label, metric in (("reward (optimised)", "reward"), ("second judge", "second_reward"))
    }
    proxy, second = curves.values()
    both = sorted(proxy.keys() & second.keys())
    parted = parted_at(both, [proxy[step] for step in both], [second[step] for step in both])
    rows = pd.concat([_standardised(label, values) for label, values in curves.items()])
    shown = alt.Chart(rows).encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("value:Q", title="standardised over the run"),
        color=alt.Color("judge:N", title=None, scale=alt.Scale(domain=list(curves))),
    )
    layers = [
        shown.mark_line(opacity=0.3, strokeWidth=1),
        shown.transform_filter("isValid(datum.smoothed)").mark_line(strokeWidth=3).encode(y="smoothed:Q"),
    ]
    if parted is not None:
        layers.append(alt.Chart(pd.DataFrame({"step": [parted]})).mark_rule(strokeDash=[6, 4]).encode(x="step:Q"))
    verdict = "they do not part" if parted is None else f"they part at step {parted}"
    if not second:
        verdict = "no second judge"
    elif len(both) < LEAST_STEPS:
        verdict = "too few steps to say whether they part"
    chart = alt.layer(*layers).properties(title=f"{title}: {verdict}", width=480, height=260)
    chart.save(path, scale_factor=2)
    return parted


def _standardised(label: str, values: dict[int, float]) -> pd.DataFrame:
    """Columns step, judge, value and smoothed (missing where no full window is), in standard deviations."""
    steps = sorted(values)
    raw = np.array([values[step] for step in steps], dtype=float)
    scaled = (raw - raw.mean()) / (raw.std() or 1.0) if len(raw) else raw
    smoothed = np.full(len(scaled), np.nan)
    if len(scaled) >= LEAST_STEPS:
        edge = window(len(scaled)) // 2
        smoothed[edge : len(scaled) - edge] = smooth(scaled.tolist())
    return pd.DataFrame({"step": steps, "judge": label, "value": scaled, "smoothed": smoothed})


PPO_CURVES = {
    "reward": "reward model's score",
    "kl": "KL, nats a completion",
    "entropy": "entropy, nats a token",
    "length": "tokens",
    "clip_fraction": "share of ratios clipped",
    "explained_variance": "value: explained variance",
}


def save_ppo_picture(metrics: Sequence[tuple[str, int, float]], path: Path, title: str) -> None:
    """How a PPO run went, as a PNG: one small chart for each of PPO_CURVES, by step."""
    drawn = [(PPO_CURVES[name], step, value) for name, step, value in metrics if name in PPO_CURVES]
    charts = (
        alt.Chart(pd.DataFrame(drawn, columns=["curve", "step", "value"]), width=220, height=140)
        .mark_line(point=alt.OverlayMarkDef(size=12))
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            facet=alt.Facet("curve:N", columns=3, sort=list(PPO_CURVES.values()), title=title),
        )
        .resolve_scale(y="independent")
    )
    charts.save(path, scale_factor=2)


def save_standings_picture(
    judges: Mapping[str, Judged], measured: Mapping[str, Mapping[str, float]], path: Path
) -> None:
    """How versions stand, a row for each judge: strengths, win rates over the base and over each other, and KL.

    A PNG, or an SVG if the file's name says so. `measured` has `kl_to_base` by version.
    """
    drawn = []
    for judge, judged in judges.items():
        lines = judged.standings.lines
        parts = [
            charts.framed(charts.leaderboard(lines), f"{judge}: strength"),
            charts.framed(
                charts.matrix(judged.matches, [line.version for line in lines]), "win rate of row over column"
            ),
        ]
        if any(line.over_base for line in lines):
            parts.insert(1, charts.framed(charts.over_base(lines), "win rate over the base"))
        if (versus := charts.against_kl(lines, measured)) is not None:
            parts.append(charts.framed(versus, "gained, against KL"))
        drawn.append(alt.hconcat(*parts).resolve_scale(color="independent"))
    alt.vconcat(*drawn).save(path, scale_factor=2)


DRIFT_CURVES = {
    "mean_tokens": "tokens",
    "kl_to_base": "KL to base, nats a completion",
    "distinct_2": "distinct-2",
    "repetition": "repeated 4-word sequences",
    "refusal": "refusals",
}


def save_drift_picture(rows: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Each of DRIFT_CURVES by version, a thin line for each category and a thick one for all prompts, as a PNG.

    A row has `version`, `category` (None is all) and the measures; versions are drawn in the order in which they come.
    """
    order = list(dict.fromkeys(row["version"] for row in rows))
    drawn = pd.DataFrame(
        [
            {"version": row["version"], "category": row["category"] or "none", "all": row["category"] is None}
            | {"curve": curve, "value": row[measure]}
            for row in rows
            for measure, curve in DRIFT_CURVES.items()
        ]
    )
    curves = alt.Chart(width=200, height=140).encode(
        x=alt.X("version:N", title=None, sort=order, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format=".3~g")),
    )
    by_category = curves.transform_filter("!datum.all").mark_line(opacity=0.6, strokeWidth=1, point=True)
    of_all = curves.transform_filter("datum.all").mark_line(
        strokeWidth=3, color="black", point=alt.OverlayMarkDef(color="black")
    )
    chart = (
        alt.layer(by_category.encode(color=alt.Color("category:N", title="category")), of_all, data=drawn)
        .facet(facet=alt.Facet("curve:N", sort=list(DRIFT_CURVES.values()), title=f"{title}; black: all"), columns=3)
        .resolve_scale(y="independent")
    )
    chart.save(path, scale_factor=2)
