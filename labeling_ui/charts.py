"""Charts of the manager pages. Colours are readable on light and dark ground."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import altair as alt
import pandas as pd

from db.words import AnnotatorKind
from labeling_ui.office_progress import Bars, Grain, Owed

INK = "#3f8ca3"
SIMULATED = "#b0722f"
_HEIGHT = 220  # pixels
_UNITS: dict[Grain, tuple[str, str]] = {  # Vega-Lite's time unit, and how a moment is written
    "minute": ("yearmonthdatehoursminutes", "%d %b %H:%M"),
    "hour": ("yearmonthdatehours", "%d %b %H:%M"),
    "day": ("yearmonthdate", "%a %d %b"),
}
_EACH: dict[Grain, str] = {"minute": "a minute", "hour": "an hour", "day": "a day"}


def burn_down(points: Sequence[Owed]) -> Any:
    """What was owed, as a line that steps where it changed; from the first question to now."""
    rows = pd.DataFrame([{"time": point.at, "owed": point.judgments} for point in points])
    return (
        alt.Chart(rows, height=_HEIGHT)
        .mark_area(interpolate="step-after", line={"color": INK}, color=INK, opacity=0.25)
        .encode(
            x=alt.X("time:T", title=None, axis=_time_axis(points[0].at, points[-1].at)),
            y=alt.Y("owed:Q", title="judgments owed", axis=alt.Axis(tickMinStep=1)),
            tooltip=[alt.Tooltip("time:T", format="%d %b %H:%M"), alt.Tooltip("owed:Q")],
        )
    )


def curve(points: Sequence[tuple[int, float]], name: str) -> Any:
    """A measured number by step."""
    rows = pd.DataFrame(points, columns=["step", "value"])
    return (
        alt.Chart(rows, height=160)
        .mark_line(color=INK, point=alt.OverlayMarkDef(color=INK, size=18) if len(points) < 40 else False)
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            tooltip=[alt.Tooltip("step:Q"), alt.Tooltip("value:Q", title=name, format=".4g")],
        )
    )


def _time_axis(first: datetime, last: datetime) -> Any:
    """As much of a moment as tells it from its neighbours, on a clock of 24 hours."""
    span = last - first
    format = "%H:%M" if span < timedelta(hours=20) else "%a %H:%M" if span < timedelta(days=4) else "%d %b"
    return alt.Axis(format=format, tickCount=6, labelOverlap=True)


def bars(found: Bars) -> Any:
    """Judgments a minute, an hour or a day, by who gave them, up to now."""
    names: dict[AnnotatorKind, str] = {"human": "people", "simulated": "simulated annotators"}
    rows = pd.DataFrame(
        [{"time": slot.start, "judgments": slot.judgments, "by": names[kind]} for kind, slot in found.slots]
    )
    unit, format = _UNITS[found.grain]
    time = {"field": "time", "type": "temporal", "timeUnit": unit}  # on the clock of whoever looks
    return (
        alt.Chart(rows, height=_HEIGHT)
        .mark_bar()
        .encode(
            x=alt.X(**time, title=None, axis=_time_axis(min(rows["time"]), found.now)),
            y=alt.Y("sum(judgments):Q", title=f"judgments {_EACH[found.grain]}", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color(
                "by:N",
                title=None,
                scale=alt.Scale(domain=list(names.values()), range=[INK, SIMULATED]),
                legend=alt.Legend(orient="top") if rows["by"].nunique() > 1 else None,
            ),
            tooltip=[
                alt.Tooltip(**time, title=found.grain, format=format),
                alt.Tooltip("sum(judgments):Q", title="judgments"),
                alt.Tooltip("by:N"),
            ],
        )
    )
