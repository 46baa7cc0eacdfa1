"""Pictures that are saved with a run, drawn with altair as in the UI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import altair as alt
import pandas as pd

from .stats.calibration import Bin


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
