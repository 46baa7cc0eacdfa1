"""The lineage of a judgment as a picture: from the prompt on the left to the versions that stand on it on the right."""

from dataclasses import dataclass

import streamlit as st

from db.lineage import Lineage
from labeling_ui import manage, tables
from labeling_ui.tables import Tone

_LINE = 60  # characters


@dataclass(frozen=True, slots=True)
class Card:
    """One thing of a station; `mark` says what is special about it."""

    title: str
    lines: list[str]
    mark: str = ""
    tone: Tone = "quiet"


def show(found: Lineage) -> None:
    stations = [
        ("prompt", [_prompt(found)]),
        ("candidates", _candidates(found)),
        ("judgment", [_judgment(found)]),
        ("snapshots", _snapshots(found)),
        ("runs", [Card(f"run {run.id}", [run.stage, run.state]) for run in found.runs]),
        ("versions", _versions(found)),
    ]
    st.html('<ol class="office-lineage">' + "".join(_station(name, cards) for name, cards in stations) + "</ol>")


def _station(name: str, cards: list[Card]) -> str:
    shown = "".join(map(_card, cards)) or '<p class="office-remark">none yet</p>'
    return f'<li><p class="office-label">{name}</p>{shown}</li>'


def _card(card: Card) -> str:
    mark = f'<span class="office-{card.tone}">{tables.text(card.mark)}</span>' if card.mark else ""
    lines = "".join(f"<span>{tables.text(manage.one_line(line, _LINE))}</span>" for line in card.lines if line)
    return f'<div class="office-card"><strong>{tables.text(card.title)}</strong>{mark}{lines}</div>'


def _prompt(found: Lineage) -> Card:
    split = {"train": "to train on", "heldout": "held out"}[found.split]
    mark = ("retired", "warn") if found.retired_at else ("", "quiet")
    return Card(f"prompt {found.prompt_id}", [split, found.category, found.source], *mark)  # type: ignore[arg-type]


def _candidates(found: Lineage) -> list[Card]:
    return [
        Card(
            f"candidate {each.id}",
            [
                f"by {each.version}" + (", which is stale" if each.version_stale else ""),
                f"{each.token_count:,} tokens" + (", cut off" if each.finish_reason == "length" else ""),
            ],
            "preferred" if each.preferred else "",
            "good",
        )
        for each in found.candidates
    ]


def _judgment(found: Lineage) -> Card:
    newest = found.said[-1]
    mark = ("withdrawn", "bad") if found.withdrawn_at else ("", "quiet")
    lines = [f"by {found.annotator}", newest.choice.replace("_", " "), found.queue]
    return Card(f"judgment {newest.judgment_id}", lines, *mark)  # type: ignore[arg-type]


def _snapshots(found: Lineage) -> list[Card]:
    return [
        Card(f"snapshot {each.id}", [each.sha256[:12], f"{each.row_count:,} rows"], _stale(each.stale_reason), "bad")
        for each in found.snapshots
    ]


def _versions(found: Lineage) -> list[Card]:
    cards = []
    for each in found.versions:
        lines = [f"{each.kind}, from {each.parent or 'the base'}", "" if each.direct else "through its parent"]
        promoted = [move for move in found.promotions if move.version == each.name and move.kind == "promote"]
        lines += [f"promoted by {move.actor}" + (", forced" if move.forced else "") for move in promoted]
        if each.stale_reason:
            current = "current, and " if each.is_current else ""
            cards.append(Card(f"version {each.name}", lines, current + _stale(each.stale_reason), "bad"))
        else:
            cards.append(Card(f"version {each.name}", lines, "current" if each.is_current else "", "good"))
    return cards


def _stale(reason: str | None) -> str:
    return f"stale: {reason}" if reason else ""
