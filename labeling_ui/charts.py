"""Charts of the manager pages. Colours are readable on light and dark ground."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from db.activity import Slot
from db.words import AnnotatorKind
from labeling_ui.office_progress import Owed

INK = "#3f8ca3"
SIMULATED = "#b0722f"
_HEIGHT = 220  # pixels


def burn_down(points: Sequence[Owed]) -> Any:
    """What was owed, as a line that steps where it changed; from the first question to now."""
    rows = pd.DataFrame([{"time": point.at, "owed": point.judgments} for point in points])
    return (
        alt.Chart(rows, height=_HEIGHT)
        .mark_area(interpolate="step-after", line={"color": INK}, color=INK, opacity=0.25)
        .encode(
            x=alt.X("time:T", title=None),
            y=alt.Y("owed:Q", title="judgments owed", axis=alt.Axis(tickMinStep=1)),
            tooltip=[alt.Tooltip("time:T", format="%d %b %H:%M"), alt.Tooltip("owed:Q")],
        )
    )


def hours(slots: Sequence[tuple[AnnotatorKind, Slot]]) -> Any:
    """Judgments an hour, by who gave them."""
    names: dict[AnnotatorKind, str] = {"human": "people", "simulated": "simulated annotators"}
    rows = pd.DataFrame([{"hour": slot.start, "judgments": slot.judgments, "by": names[kind]} for kind, slot in slots])
    hour = {"field": "hour", "type": "temporal", "timeUnit": "yearmonthdatehours"}  # on the clock of whoever looks
    return (
        alt.Chart(rows, height=_HEIGHT)
        .mark_bar()
        .encode(
            x=alt.X(**hour, title=None),
            y=alt.Y("judgments:Q", title="judgments an hour", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color(
                "by:N",
                title=None,
                scale=alt.Scale(domain=list(names.values()), range=[INK, SIMULATED]),
                legend=alt.Legend(orient="top") if rows["by"].nunique() > 1 else None,
            ),
            tooltip=[
                alt.Tooltip(**hour, title="hour", format="%d %b %H:%M"),
                alt.Tooltip("judgments:Q"),
                alt.Tooltip("by:N"),
            ],
        )
    )
