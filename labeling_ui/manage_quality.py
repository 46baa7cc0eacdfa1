"""Quality: agreement between annotators, with themselves and with gold answers; leanings to a side or to length."""

import streamlit as st
from sqlalchemy import Engine

from labeling_ui import manage, office_quality, tables
from labeling_ui.identity import Person
from labeling_ui.office_quality import Quality
from labeling_ui.tables import Cell, Mark, Range
from pipeline.stats.agreement import Estimate


def body(engine: Engine, person: Person) -> None:
    simulated = st.toggle("simulated annotators instead of people", key="simulated-quality")
    with st.spinner("counting …"):
        found = office_quality.quality(engine, person.annotator_id, "simulated" if simulated else "human")
    if not found.judged and not found.annotators:
        manage.empty(
            "Nothing was judged yet, so there is no quality to show",
            "Fill a queue on the page queues, and let people label.",
            "For agreement give it an overlap of 2 or more: then two people are asked each question.",
        )
        return
    between(found)
    leanings(found)
    by_annotator(found)


def between(found: Quality) -> None:
    manage.section("agreement between annotators")
    if not found.shared:
        manage.empty(
            "No agreement yet: it needs comparisons that two people judged",
            "Set overlap 2 or more for a queue, on the page queues, before it is filled.",
            f"So far {found.judged:,} answers were given, and no two of them about the same question.",
        )
        return
    tables.table(
        "What two annotators say of the same question, each interval 95 %. Alpha is agreement beyond chance: 0 is "
        "what chance gives, 1 is perfect; 0.67 is often asked for, 0.8 is good. n counts questions judged by several.",
        ["about", "kind", "alpha", "equal answers"],
        [
            [
                Mark(line.about, "good") if line.whole_kind else line.about,
                line.kind,
                alpha(line.alpha),
                share(line.plain),
            ]
            for line in found.lines
        ],
    )


def leanings(found: Quality) -> None:
    manage.section("all annotators together")
    tables.table(
        "Shares with their 95 % intervals. n counts judgments.",
        ["what", "share", "how to read it"],
        [
            [
                "same answer again, sides swapped",
                share(found.repeats, "no question came back yet; set a share of repeats for a queue"),
                "how far one agrees with oneself: between two people hardly more can be expected",
            ],
            [
                "right answer to gold questions",
                share(found.gold, "no gold question was answered yet; make some on the page data"),
                "attention, and whether the guidelines are understood",
            ],
            [
                "left, of left and right",
                share(found.left, "nobody decided between two yet", mark=0.5),
                "sides are shuffled: far from 50 % is a habit",
            ],
            [
                "the longer of two",
                share(found.longer, "nobody decided between two of different length yet", mark=0.5),
                "a model that learns from much more than 50 % learns to write at length",
            ],
        ],
    )


def by_annotator(found: Quality) -> None:
    manage.section("by annotator")
    heads = ["annotator", "judged", "equal to others", "same again", "gold", "left", "longer"]
    tables.table(
        "Each share with its 95 % interval and n. Few judgments give wide intervals: they say little about a person.",
        heads,
        [
            [
                each.name,
                f"{each.judged:,}",
                *(share(estimate) for estimate in (each.with_others, each.repeats, each.gold)),
                *(share(estimate, mark=0.5) for estimate in (each.left, each.longer)),
            ]
            for each in found.annotators
        ],
        ["judged"],
    )


def alpha(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Mark("not defined: nothing is shared, or nobody ever differs", "quiet")
    interval = f"{estimate.low:.2f} to {estimate.high:.2f}".replace("-", "−")
    words = f"{estimate.value:.2f} ({interval}), n\u00a0{estimate.n:,}"
    return Range(words.replace("-", "−"), estimate.value, estimate.low, estimate.high, floor=-1.0, mark=0.0)


def share(estimate: Estimate | None, without: str = "", mark: float | None = None) -> Cell:
    if estimate is None:
        return Mark(without, "quiet") if without else None
    words = f"{estimate.value:.0%} ({100 * estimate.low:.0f}–{estimate.high:.0%}), n\u00a0{estimate.n:,}"
    return Range(words, estimate.value, estimate.low, estimate.high, mark=mark)


manage.page("Quality", body)
