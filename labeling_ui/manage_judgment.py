"""One judgment on the page data: what was asked and shown, what was said, and what came of it."""

import streamlit as st
from sqlalchemy import Engine

from db.kinds import COMPARABLE
from db.lineage import Lineage, Saying
from labeling_ui import lineage_view, manage, office_data, tables
from labeling_ui.identity import Person

STRENGTHS = {1: "slightly", 2: "clearly", 3: "strongly"}


def show(engine: Engine, person: Person, judgment_id: int) -> None:
    found = office_data.details(engine, person.annotator_id, judgment_id)
    newest = found.said[-1]
    manage.section(f"judgment {newest.judgment_id}")
    tables.facts(
        ("said", words(newest, found)),
        ("by", found.annotator + (" (simulated)" if found.annotator_kind == "simulated" else "")),
        ("at", manage.when(newest.created_at)),
        ("in", "" if newest.response_ms is None else f"{newest.response_ms / 1000:.1f} s"),
        ("queue", f"{found.queue} ({found.queue_kind})"),
        ("purpose", found.purpose),
        ("round", found.round or ""),
    )
    for number, message in enumerate(found.messages):
        manage.turn(message, f"turn-{found.prompt_id}-{number}")
    answers(found)
    own_words(newest)
    if len(found.said) > 1:
        corrections(found)
    manage.section("lineage")
    lineage_view.show(found)


def answers(found: Lineage) -> None:
    if not found.candidates:
        return
    for number, (column, candidate) in enumerate(
        zip(st.columns(min(4, len(found.candidates))) * 2, found.candidates, strict=False), 1
    ):
        with column.container(border=True):
            preferred = ", preferred" if candidate.preferred else ""
            gold = ", the gold answer" if candidate.id == found.gold_candidate_id else ""
            tables.label(f"answer {number}, by {candidate.version}{preferred}{gold}")
            manage.plain(candidate.text, f"candidate-{candidate.id}")
            if found.queue_kind in COMPARABLE and found.purpose == "train":
                make_gold(found.comparison_id, candidate.id, number)


def make_gold(comparison_id: int, candidate_id: int, number: int) -> None:
    manage.button(
        f"make gold: {number} is right",
        lambda engine, who: office_data.make_gold(engine, who, comparison_id, candidate_id),
        key=f"gold-{comparison_id}-{candidate_id}",
    )


def own_words(newest: Saying) -> None:
    """What the annotator typed."""
    for name, said in (("written", newest.written), ("reason", newest.reason), ("why", newest.rationale)):
        if said:
            tables.label(name)
            manage.plain(said, f"{name}-{newest.judgment_id}")


def corrections(found: Lineage) -> None:
    manage.section("corrections")
    tables.table(
        "Everything that was said of this question, oldest first; the last one counts",
        ["judgment", "at", "said", "why"],
        [
            [f"{each.judgment_id}", manage.when(each.created_at), words(each, found), manage.one_line(each.rationale)]
            for each in found.said
        ],
    )


def words(said: Saying, found: Lineage) -> str:
    """What was said, the answers by their number as they were shown."""
    number = {candidate.id: f"{place}" for place, candidate in enumerate(found.candidates, 1)}
    if said.ranking:
        return " > ".join(" = ".join(number[id_] for id_ in group) for group in said.ranking)
    if said.ratings:
        return ", ".join(f"{aspect} {stars}" for aspect, stars in said.ratings.items())
    strength = f", {STRENGTHS[said.strength]}" if said.strength else ""
    return said.choice.replace("_", " ") + strength
