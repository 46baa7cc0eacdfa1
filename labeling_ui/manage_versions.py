"""Versions: how they stand, by each judge apart; what people vote on now; what was gained and what it cost."""

from collections.abc import Mapping
from typing import Any

import streamlit as st
from sqlalchemy import Engine

from db.columns import JsonObject
from db.family import Member
from labeling_ui import family_view, manage, office_versions, tables
from labeling_ui.identity import Person
from labeling_ui.office_versions import Evaluation, Overview
from labeling_ui.tables import Cell, Mark, Range
from pipeline.stats import charts
from pipeline.stats.standings import PEOPLE, Judged, Line, Match

VERDICTS: dict[str, Mark] = {
    "better": Mark("shown to be better", "good"),
    "worse": Mark("shown to be worse", "bad"),
    "undecided": Mark("not decided", "quiet"),
}
DRIFTS = {  # a figure of the reports: its title, and whether it is a share
    "mean_tokens": ("length, tokens", False),
    "ended": ("ended by themselves", True),
    "kl_to_base": ("KL to the base, nats", False),
    "repetition": ("repeated word sequences", True),
    "refusal": ("refusals", True),
    "distinct_2": ("distinct-2", False),
}


def body(engine: Engine, person: Person) -> None:
    found = office_versions.overview(engine, person.annotator_id)
    if len(found.members) < 2:
        manage.empty(
            "There is no trained version yet, so there is nothing to compare",
            "Label, and run prefloop loop: it trains a version and compares it with its parent.",
            "Or train one and compare it: prefloop compare v1 v0.",
        )
        return
    leaderboard(found)
    evaluations(engine, person)
    gained(found)
    drift(found)
    manage.section("where they come from")
    family_view.show(found.members)


def leaderboard(found: Overview) -> None:
    manage.section("leaderboard")
    if not found.judges:
        manage.empty(
            "No versions were compared yet",
            "By a judge: prefloop compare v1 v0 on the command line.",
            "By people: the same with `--by people`; they are asked on the page label.",
        )
        return
    judge = st.segmented_control(
        "judge", list(found.judges), default=next(iter(found.judges)), key="judge", required=True, bind="query-params"
    )
    judged = found.judges[judge]
    members = {member.name: member for member in found.members}
    tables.table(
        explained(judge, judged.standings.confidence),
        ["version", "rank", "win rate over the base", "strength", "opponents"],
        [
            [
                name(members[line.version]),
                rank(line),
                rate(line.over_base),
                strength(line),
                f"{line.opponents:,}",
            ]
            for line in judged.standings.lines
        ],
        ["rank", "opponents"],
    )
    if judge != PEOPLE:
        manage.remark(f"{judge} {agreement(judged.agreement)}.")
    if judged.standings.apart:
        manage.remark(f"Compared with none of these, and so not ranked: {', '.join(judged.standings.apart)}.")
    if judged.standings.imagined:
        manage.remark(
            "One won all its comparisons: each has been given one imaginary tie, to keep its strength finite."
        )
    pictures(judged)


def explained(judge: str, confidence: float) -> str:
    said = "votes of people" if judge == PEOPLE else f"verdicts of {judge}"
    return (
        f"From the {said} alone. Strength is Bradley–Terry's, in log-odds to the mean of these versions. In brackets "
        f"{100 * confidence:.0f} % intervals; beside a rank, the ranks that they allow."
    )


def agreement(found: Mapping[str, Any] | None) -> str:
    """How far a judge can be trusted: what people say of the same pairs."""
    if found is None:
        return "was not compared with people yet"
    interval = f"{100 * found['low']:.0f}–{found['high']:.0%}"
    return f"agrees with people in {found['agreement']:.0%} ({interval}) of {found['votes']:,} votes"


def name(member: Member) -> Cell:
    if member.is_current:
        return Mark(f"{member.name} · current", "good")
    if member.stale_reason:
        return Mark(f"{member.name} · stale", "bad")
    return Mark(f"{member.name} · rolled back", "warn") if member.rolled_back else member.name


def rate(match: Match | None) -> Cell:
    if match is None:
        return None
    taught = f"; it taught {' and '.join(match.taught)}" if match.taught else ""
    words = f"{match.rate:.0%} ({100 * match.low:.0f}–{match.high:.0%}), n\u00a0{match.comparisons:,}{taught}"
    return Range(words, match.rate, match.low, match.high, mark=0.5)


def rank(line: Line) -> str:
    known = line.best_rank == line.worst_rank
    return f"{line.rank}" if known else f"{line.rank} ({line.best_rank}–{line.worst_rank})"


def strength(line: Line) -> str:
    return f"{line.score:+.2f} ({line.low:+.2f} to {line.high:+.2f})".replace("-", "−")


def pictures(judged: Judged) -> None:
    lines = judged.standings.lines
    names = [line.version for line in lines]
    said = ", ".join(f"{line.version} {line.score:.2f}" for line in lines)
    left, right = st.columns(2)
    with left:
        tables.label("strength, with its interval")
        st.altair_chart(charts.leaderboard(lines), alt=f"Strengths: {said}.", key="strengths")
    with right:
        tables.label("win rate of each row over each column")
        st.altair_chart(charts.matrix(judged.matches, names), alt=pairs(judged.matches), key="matrix")


def pairs(matches: list[Match]) -> str:
    said = (f"{match.a} over {match.b} {match.rate:.0%} of {match.comparisons}" for match in matches)
    return f"Win rates: {', '.join(said)}."


def evaluations(engine: Engine, person: Person) -> None:
    """People's votes as they come. It looks again by itself while something is asked."""
    found = office_versions.under_way(engine, person.annotator_id)
    if not found:
        return
    manage.section("evaluations by people")
    again = 5 if any(each.is_open for each in found) else None
    st.fragment(results, run_every=again)(engine, person)


def results(engine: Engine, person: Person) -> None:
    tables.table(
        "Win rate of the first version by people's votes. The interval (95 %) may be looked at after every vote.",
        ["evaluation", "votes", "win rate", "verdict", "more votes expected", "still asked"],
        [
            [
                f"{each.a} against {each.b}",
                f"{each.so_far.votes:,} on {each.so_far.prompts:,} prompts",
                running(each),
                VERDICTS[each.so_far.verdict],
                expected(each),
                f"{each.owed:,}" if each.is_open else Mark("closed", "quiet"),
            ]
            for each in office_versions.under_way(engine, person.annotator_id)
        ],
        ["votes", "more votes expected", "still asked"],
    )


def running(each: Evaluation) -> Cell:
    so_far = each.so_far
    if not so_far.votes:
        return Mark("nobody has voted yet", "quiet")
    words = f"{so_far.rate:.0%} ({100 * so_far.low:.0f}–{so_far.high:.0%})"
    return Range(words, so_far.rate, so_far.low, so_far.high, mark=0.5)


def expected(each: Evaluation) -> Cell:
    if each.so_far.verdict != "undecided":
        return Mark("none", "quiet")
    return None if each.so_far.more is None else f"about {each.so_far.more:,}"


def gained(found: Overview) -> None:
    judge = st.session_state.get("judge")
    chart = charts.against_kl(found.judges[judge].standings.lines, found.measured) if judge in found.judges else None
    if chart is None and not found.paths:
        return
    manage.section("reward versus KL")
    manage.remark("What was gained, and how far from the base it went for it. A gain that costs much KL is suspicious.")
    for column, (key, (title, drawn)) in zip(
        st.columns(2) * 2, enumerate(kl_charts(found, judge, chart).items()), strict=False
    ):
        with column:
            tables.label(title)
            st.altair_chart(drawn, alt=f"{title}.", key=f"kl-{key}")


def kl_charts(found: Overview, judge: str | None, chart: object | None) -> dict[str, object]:
    drawn = {} if chart is None else {f"versions, by {judge}": chart}
    for unit, steps in found.paths.items():
        names = ", ".join(dict.fromkeys(run for run, _, _ in steps))
        drawn[f"while {names} learned, step by step"] = charts.paths(steps, unit)
    return drawn


def drift(found: Overview) -> None:
    if not found.measured:
        return
    manage.section("drift")
    manage.remark("What the newest comparison measured of each version, oldest first, on the held-out prompts.")
    columns = st.columns(3)
    for number, (figure, (title, share)) in enumerate(DRIFTS.items()):
        values = {version: facts[figure] for version, facts in found.measured.items() if figure in facts}
        if values:
            with columns[number % 3]:
                tables.label(title)
                said = ", ".join(f"{version} {value:.3g}" for version, value in values.items())
                st.altair_chart(charts.drift(values, title, share), alt=f"{title}: {said}.", key=f"drift-{figure}")
    if found.drift:
        anchored(found.drift)


def anchored(report: JsonObject) -> None:
    """How the current version differs from earlier ones on the frozen prompts, as prefloop drift measured it."""
    changes = {(each["since"], each["measure"]): each for each in report["changes"]}
    measures = [measure for measure in DRIFTS if any(each["measure"] == measure for each in report["changes"])]
    tables.table(
        f"Changes of {report['versions'][-1]} on {report['anchors']:,} frozen prompts (prefloop drift), with paired "
        f"intervals of {100 * report['confidence']:.0f} %; in bold where they leave out 0",
        ["since", *(DRIFTS[measure][0] for measure in measures)],
        [
            [since, *(change(changes.get((since, measure)), DRIFTS[measure][1]) for measure in measures)]
            for since in dict.fromkeys(each["since"] for each in report["changes"])
        ],
    )


def change(found: JsonObject | None, share: bool) -> Cell:
    if found is None:
        return None
    numbers = [found[name] for name in ("mean", "low", "high")]
    said = ["?" if number is None else f"{number:+.1%}" if share else f"{number:+.1f}" for number in numbers]
    words = f"{said[0]} ({said[1]} to {said[2]})".replace("-", "−")
    return Mark(words, "warn") if found["moved"] else words


manage.page("Versions", body)
