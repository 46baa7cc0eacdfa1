"""Promotions: what is current, what the gate says of the next one, and every move so far with its evidence."""

import streamlit as st
from sqlalchemy import Engine

from db.compared import Report
from db.promotions import Move
from labeling_ui import manage, office_promotions, tables
from labeling_ui.identity import Person
from labeling_ui.office_promotions import Standing
from labeling_ui.tables import Cell, Mark, Range


def body(engine: Engine, person: Person) -> None:
    found = office_promotions.standing(engine, person.annotator_id)
    if found.current is None:
        manage.empty(
            "Nothing is current yet",
            "Run prefloop loop: it starts from the base, and promotes what is shown to be better.",
        )
        return
    now(found)
    candidate(engine, person, found)
    history(found.moves)


def now(found: Standing) -> None:
    newest = found.moves[0]
    state = Mark(f"stale: {found.current_stale}", "bad") if found.current_stale else Mark("in order", "good")
    tables.facts(
        ("current", found.current),
        ("since", manage.when(newest.created_at), f"by {newest.actor}"),
        ("state", state),
    )
    if found.former is None:
        return
    with st.expander(f"roll back to {found.former}"), st.form("rollback", border=False):
        reason = st.text_input("reason", max_chars=500, key="rollback-reason")
        if st.form_submit_button("roll back"):
            manage.submit(lambda engine, who: office_promotions.roll_back(engine, who, reason))


def candidate(engine: Engine, person: Person, found: Standing) -> None:
    manage.section("the next one")
    if not found.candidates:
        manage.remark("There is no other version that may become current: train one.")
        return
    version = st.selectbox("version", found.candidates, key="version", bind="query-params", width=220)
    shown = office_promotions.evidence(engine, person.annotator_id, version)
    if shown is None:
        manage.empty(
            f"{version} was not compared with {found.current} yet",
            f"Compare them: prefloop compare {version} {found.current}. The gate's verdict is here then.",
        )
        return
    gate(shown, version)
    manage.button(
        f"promote {version}",
        lambda engine, who: office_promotions.promote(engine, who, shown.run_id),
        type="primary" if shown.found["gate"]["passed"] else "secondary",
        key=f"promote-{shown.run_id}",
    )
    if not shown.found["gate"]["passed"]:
        force(shown, version)


def gate(shown: Report, version: str) -> None:
    """What the rules found, as it was worked out with the comparison."""
    passed = shown.found["gate"]["passed"]
    tables.facts(
        ("the gate", Mark("passed", "good") if passed else Mark("refuses", "bad")),
        ("compared", manage.when(shown.at), f"run {shown.run_id}, on {shown.found['prompts']:,} held-out prompts"),
        *((f"wins by {judge}", rate(facts)) for judge, facts in shown.found["judges"].items()),
    )
    tables.table(
        f"The rules, for {version} in place of {shown.found['b']}",
        ["rule", "verdict", "found"],
        [
            [rule["rule"], Mark("passed", "good") if rule["passed"] else Mark("failed", "bad"), rule["words"]]
            for rule in shown.found["gate"]["rules"]
        ],
    )


def force(shown: Report, version: str) -> None:
    with st.expander("promote it against the gate"), st.form(f"force-{shown.run_id}", border=False):
        manage.remark("Your name and your reason are kept with it, for good.")
        reason = st.text_input("reason", max_chars=500, key=f"force-reason-{shown.run_id}")
        if st.form_submit_button(f"force {version}"):
            manage.submit(lambda engine, who: office_promotions.promote(engine, who, shown.run_id, reason))


def rate(facts: dict[str, float]) -> Cell:
    words = f"{facts['rate']:.0%} ({100 * facts['low']:.0f}–{facts['high']:.0%})"
    return Range(words, facts["rate"], facts["low"], facts["high"], mark=0.5)


def history(moves: list[Move]) -> None:
    manage.section("history")
    tables.table(
        "Every move of the pointer, the newest first. Nothing here can be changed.",
        ["at", "what", "version", "instead of", "by", "evidence", "reason"],
        [
            [
                manage.when(move.created_at),
                what(move),
                move.version,
                move.previous,
                manage.one_line(move.actor),
                evidence(move),
                manage.one_line(move.reason, 300),
            ]
            for move in moves
        ],
    )


def what(move: Move) -> Cell:
    if move.kind == "rollback":
        return Mark("rolled back", "warn")
    return Mark("forced", "bad") if move.forced else Mark("promoted", "good")


def evidence(move: Move) -> Cell:
    """The rules that failed, or how many passed; the deciding judge's interval before there was a gate."""
    report = move.evidence.get("report")
    if report is None:
        return Mark(f"undoes move {move.evidence['undoes']}", "quiet") if "undoes" in move.evidence else None
    rules = report.get("gate", {}).get("rules", [])
    failed = [rule["rule"] for rule in rules if not rule["passed"]]
    said = f"run {move.run_id}: "
    if failed:
        return Mark(f"{said}failed {', '.join(failed)}", "bad")
    return f"{said}{len(rules)} of {len(rules)} rules passed" if rules else f"{said}no gate yet"


manage.page("Promotions", body)
