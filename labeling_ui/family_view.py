"""The versions as a tree: each below its parent, with what made it, who taught it, and what has become of it."""

from collections.abc import Sequence

import streamlit as st

from db.family import Member, Taught
from labeling_ui import tables
from labeling_ui.tables import Mark


def show(members: Sequence[Member]) -> None:
    """A nested list: the roots are those whose parent is not among the members."""
    ids = {member.id for member in members}
    roots = [member for member in members if member.parent_id not in ids]
    st.html(f'<div class="office-tree">{_branch(roots, members)}</div>')


def _branch(siblings: Sequence[Member], members: Sequence[Member]) -> str:
    grown = "".join(
        f"<li>{_card(member)}{_branch([each for each in members if each.parent_id == member.id], members)}</li>"
        for member in siblings
    )
    return f"<ul>{grown}</ul>" if grown else ""


def _card(member: Member) -> str:
    lines = "".join(f"<span>{tables.text(line)}</span>" for line in _lines(member))
    marks = "".join(f" {tables.content(mark)}" for mark in _marks(member))
    return f'<div class="office-card"><span><strong>{tables.text(member.name)}</strong>{marks}</span>{lines}</div>'


def _marks(member: Member) -> list[Mark]:
    marks = []
    if member.is_current:
        marks.append(Mark("current", "good"))
    if member.rolled_back:
        marks.append(Mark("rolled back", "warn"))
    if member.stale_reason:
        marks.append(Mark(f"stale: {member.stale_reason}", "bad"))
    if member.adapter_removed:
        marks.append(Mark("adapter removed", "warn"))
    return marks


def _lines(member: Member) -> list[str]:
    if member.run_id is None:
        return [f"{member.base_model}, the base"]
    kind = "reward model by" if member.kind == "reward" else "by"
    made = f"{kind} {member.stage}, run {member.run_id}"
    if member.reward_model:
        made += f", against {member.reward_model}"
    snapshot = f"snapshot {member.snapshot_id}: " if member.snapshot_id is not None else ""
    return [made, snapshot + (" and ".join(map(_taught, member.taught)) or "no judgments")]


def _taught(taught: Taught) -> str:
    who = ("person", "people") if taught.kind == "human" else ("simulated annotator", "simulated annotators")
    return f"{taught.judgments:,} judgments of {taught.annotators:,} {who[taught.annotators > 1]}"
