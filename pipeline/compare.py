"""COMPARE: two versions on the same held-out prompts, by one or more judges (judges.py), and what the gate says.

Completions are cached in the store: a version never generates the same thing twice. So is what judges say of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from db import prompts
from db.engine import reading, writing
from db.tables import Candidate, Prompt, Round, Version
from db.votes import DecidedPair

from . import gate, judges, people, people_and_judges
from .ask_people import evidence_of
from .context import Context
from .describe import describe
from .draw import draw
from .errors import PrefloopError
from .recorded_run import fingerprint, finished_run, recorded
from .stats.slices import slices
from .stats.win_rate import win_rate

OUTCOMES: dict[judges.Verdict, float] = {"win": 1.0, "tie": 0.5, "inconsistent": 0.5, "loss": 0.0}  # unreadable: none

AS_OF_A_JUDGE = {"inconsistent": 0, "unreadable": 0, "optimised": [], "exam_passed": None, "agreement": None}

Pair = judges.Pair  # of the two versions, for one sample of one prompt


def compare(
    ctx: Context, a: Version, b: Version, judges_: Sequence[str], round_: Round | None = None
) -> tuple[int, dict[str, Any]]:
    """(run id, report) of `a` against `b`. An equal comparison that is finished is read, not made again.

    People's votes are in the report wherever there are any, whether `judges_` names them or not.

    The report is what pages and the gate read:

    - `judges`: by judge, the win rate of `a` with its interval (`WinRate`); beside it `inconsistent`, how many of the
      ties are verdicts that differ between the two orders; `unreadable`, verdicts that are counted nowhere;
      `optimised`, which of the two versions were trained to please this judge; `exam_passed` of a reward model; and
      `agreement` with people (`JudgeAgreement`), None where there is nothing to measure it on. People's own votes, as
      far as they were given by now, are the last entry, "people" (people.py)
    - `versions`: by name, what `describe` measures
    - `slices`: by category of prompts, the win rate by the first judge, `deciding_judge`
    - `gate`: whether `a` may replace `b`, rule by rule (gate.py)
    """
    if a.id == b.id:
        raise PrefloopError(f"{a.name} against itself is no comparison; name two versions")
    settings = ctx.workspace.settings.compare
    sampling = ctx.workspace.settings.sampling
    rules = ctx.workspace.settings.gate
    with reading(ctx.engine) as session:
        heldout = prompts.list_prompts(session, split="heldout")
    votes = evidence_of(ctx, a, b)
    automatic = [judge for judge in judges_ if judge != people.JUDGE] or [judges.default_judge(ctx)]
    named = list(dict.fromkeys(judges.named(ctx, judge) for judge in automatic))
    if not heldout:
        raise PrefloopError("there are no held-out prompts; import more with `prefloop prompts import`")

    decided = people_and_judges.decided_by_people(ctx)
    exams = {judge: judges.exam_passed(ctx, judge) for judge in named}
    config = {
        "a": a.name,
        "b": b.name,
        "judges": named,
        "sampling": sampling.model_dump(),
        "samples_per_prompt": settings.samples_per_prompt,
        "confidence": settings.confidence,
        "gate": rules.model_dump(),
        "exams": exams,
        "people": votes,
        "decided_by_people": people_and_judges.digest(decided),
        "keys": [judges.key(ctx, judge) for judge in named],
    }
    hashes = [a.adapter_sha256, b.adapter_sha256, a.base_sha256, b.base_sha256, *(p.sha256 for p in heldout)]
    mark = fingerprint("compare", config, settings.seed, *hashes)
    done = finished_run(ctx, mark)
    if done is not None and done.summary is not None:
        return done.id, done.summary

    with recorded(ctx, "compare", config, settings.seed, mark, version=a, round_=round_) as run:
        report = _report(ctx, a, b, named, heldout, exams, decided)
        if votes is not None:
            report["judges"][people.JUDGE] = {**votes, **AS_OF_A_JUDGE}
        report["gate"] = gate.apply(report, rules)
        with writing(ctx.engine) as session:
            run.finish(session, report)
    return run.id, report


def _report(
    ctx: Context,
    a: Version,
    b: Version,
    named: Sequence[str],
    heldout: Sequence[Prompt],
    exams: dict[str, bool | None],
    decided: Sequence[DecidedPair],
) -> dict[str, Any]:
    """What the judges and the measures say, without people and the gate."""
    settings = ctx.workspace.settings.compare
    sampling = ctx.workspace.settings.sampling
    ours, theirs = (
        draw(ctx, version, heldout, settings.samples_per_prompt, sampling, settings.seed, "held-out completions")
        for version in (a, b)
    )
    pairs = paired(ours.candidates, theirs.candidates)
    measured = {
        version.name: describe(ctx, version, drawn.candidates, heldout) for version, drawn in ((a, ours), (b, theirs))
    }
    teachers = {version.name: judges.optimised_against(ctx, version) for version in (a, b)}
    verdicts = {judge: judges.verdicts(ctx, judge, pairs, heldout) for judge in named}
    return {
        "a": a.name,
        "b": b.name,
        "prompts": len(heldout),
        "confidence": settings.confidence,
        "deciding_judge": named[0],
        "judges": {
            judge: {
                **rate(judge, pairs, verdicts[judge], settings.confidence),
                "optimised": [name for name, of_version in teachers.items() if judge in of_version],
                "exam_passed": exams[judge],
                "agreement": people_and_judges.agreement(ctx, judge, decided),
            }
            for judge in named
        },
        "versions": measured,
        "slices": by_category(pairs, verdicts[named[0]], heldout, settings.confidence),
    }


def paired(ours: Sequence[Candidate], theirs: Sequence[Candidate]) -> list[Pair]:
    """Sample by sample of each prompt. Both are ordered by (prompt, sample)."""
    pairs = list(zip(ours, theirs, strict=True))
    assert all((a.prompt_id, a.sample_index) == (b.prompt_id, b.sample_index) for a, b in pairs)
    return pairs


def rate(judge: str, pairs: Sequence[Pair], verdicts: Sequence[judges.Verdict], confidence: float) -> dict[str, Any]:
    """The win rate of the first of every pair, as plain values. Raises PrefloopError when no verdict is readable."""
    outcomes = [
        (ours.prompt_id, OUTCOMES[said]) for (ours, _), said in zip(pairs, verdicts, strict=True) if said in OUTCOMES
    ]
    if not outcomes:
        raise PrefloopError(f"none of {len(pairs)} verdicts of {judge} is readable; let another model judge")
    counts = {"inconsistent": verdicts.count("inconsistent"), "unreadable": verdicts.count("unreadable")}
    return {**asdict(win_rate(outcomes, confidence)), **counts}


def by_category(
    pairs: Sequence[Pair], verdicts: Sequence[judges.Verdict], of_prompts: Sequence[Prompt], confidence: float
) -> list[dict[str, Any]]:
    """The win rate of the first of every pair in each category of prompts (`Slice`), as plain values."""
    category = {prompt.id: prompt.category for prompt in of_prompts}
    outcomes: dict[str, list[tuple[int, float]]] = {}
    for (ours, _), said in zip(pairs, verdicts, strict=True):
        if said in OUTCOMES:
            outcomes.setdefault(category[ours.prompt_id], []).append((ours.prompt_id, OUTCOMES[said]))
    return [asdict(each) for each in slices(outcomes, confidence)]
