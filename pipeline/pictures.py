"""Pictures that are saved with a run, drawn with altair as in the UI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import altair as alt
import pandas as pd


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
