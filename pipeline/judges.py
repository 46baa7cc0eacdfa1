"""Judges: who says which of two completions is better, without a person.

    taste:<name>    the clean planted taste of simulated annotators: the truth in a self-test, unknown in real life
    rule:<name>     a rule of rewards.py, "rule:complete", or "rule:within_words:25" with its limit
    reward:<name>   a reward model; biased towards policies that were selected by it, which is why it is named
    llm:<model>     a model of the endpoint in section [judge] (llm_judge.py); "llm" alone is the one named there

The first three give a completion a number; the higher one wins, and equal ones are a tie. The last is asked about every
pair in both orders; equal texts are a tie without asking. What a judge said is kept in the store, and asked only once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Literal

from db import runs, scores, versions
from db import verdicts as said
from db.engine import reading, writing
from db.tables import Candidate, Prompt, Version
from db.words import Preferred

from .context import Context
from .draw import rows_of
from .errors import PrefloopError
from .llm_judge import LlmJudge
from .rewards import Score, rule, taste
from .simulate import TASTES

# Of the first completion. An inconsistent verdict differs between the two orders; an unreadable one is no verdict.
Verdict = Literal["win", "tie", "loss", "inconsistent", "unreadable"]
Pair = tuple[Candidate, Candidate]

_IN_ORDER: dict[Preferred, Verdict] = {"first": "win", "second": "loss", "tie": "tie", "unreadable": "unreadable"}
_REVERSED: dict[Preferred, Verdict] = {"first": "loss", "second": "win", "tie": "tie", "unreadable": "unreadable"}


def named(ctx: Context, judge: str) -> str:
    """The judge by its full name. Raises PrefloopError, with the known ones, for one that is not there."""
    kind, _, name = judge.partition(":")
    if kind == "rule":
        return rule(f"{name}=1").name
    if kind == "llm":
        section = ctx.workspace.settings.judge
        if not (name or section.model):
            raise PrefloopError("no model is named to judge; write llm:MODEL, or set model in section [judge]")
        return f"llm:{LlmJudge(section, name or section.model).model}"
    with reading(ctx.engine) as session:
        rewards = [version.name for version in versions.list_versions(session, "reward")]
    if (kind == "taste" and name in TASTES) or (kind == "reward" and name in rewards):
        return judge
    known = [
        *(f"taste:{each}" for each in sorted(TASTES)),
        *(f"reward:{each}" for each in rewards),
        "rule:NAME",
        "llm:MODEL",
    ]
    raise PrefloopError(f"unknown judge {judge!r}; known: {', '.join(known)}")


def default_judge(ctx: Context) -> str:
    """The newest reward model that is not stale and learned from a whole snapshot: one of a half watches others.

    One without its adapter scores nothing any more.
    """
    with reading(ctx.engine) as session:
        for version in reversed(versions.list_versions(session, "reward")):
            half = version.run_id is not None and runs.get(session, version.run_id).config.get("half")
            if version.stale_reason is None and version.adapter_removed_at is None and not half:
                return f"reward:{version.name}"
    raise PrefloopError("no judge: there is no reward model yet; train one, or name one with --judge taste:NAME")


def key(ctx: Context, judge: str) -> str:
    """Under which name the judge's sayings are kept: of a language model, with what decides them."""
    kind, _, name = judge.partition(":")
    return LlmJudge(ctx.workspace.settings.judge, name).key if kind == "llm" else judge


def verdicts(ctx: Context, judge: str, pairs: Sequence[Pair], of_prompts: Sequence[Prompt]) -> list[Verdict]:
    """What the judge says of every pair, for its first completion. `of_prompts` has all their prompts."""
    kind, _, name = judge.partition(":")
    if kind == "llm":
        return _in_both_orders(ctx, LlmJudge(ctx.workspace.settings.judge, name), pairs, of_prompts)
    values = judge_scores(ctx, judge, [candidate for pair in pairs for candidate in pair], of_prompts)
    differences = [values[first.id] - values[second.id] for first, second in pairs]
    return ["tie" if difference == 0 else "win" if difference > 0 else "loss" for difference in differences]


def combined(in_order: Preferred, reversed_: Preferred) -> Verdict:
    """The verdict on a pair that was asked about in its order and in the other one."""
    both: set[Verdict] = {_IN_ORDER[in_order], _REVERSED[reversed_]}
    if "unreadable" in both:
        return "unreadable"
    return both.pop() if len(both) == 1 else "inconsistent"


def _in_both_orders(
    ctx: Context, judge: LlmJudge, pairs: Sequence[Pair], of_prompts: Sequence[Prompt]
) -> list[Verdict]:
    """Several questions are under way at once; each reply is stored as it comes, whatever becomes of the next."""
    with reading(ctx.engine) as session:
        known = said.known(session, judge.key, [candidate.id for pair in pairs for candidate in pair])
    differ = [pair for pair in pairs if pair[0].text != pair[1].text]
    orders = dict.fromkeys([*differ, *((second, first) for first, second in differ)])
    missing = [(first, second) for first, second in orders if (first.id, second.id) not in known]
    messages = {prompt.id: prompt.messages for prompt in of_prompts}
    known_by_now = len(orders) - len(missing)
    with (
        ThreadPoolExecutor(judge.section.parallel) as pool,
        ctx.progress(f"ask {judge.model}", len(orders), "questions", known_by_now) as progress,
    ):
        asked = {
            pool.submit(judge.ask, messages[first.prompt_id], first.text, second.text): (first, second)
            for first, second in missing
        }
        try:
            for answer in as_completed(asked):
                first, second = asked[answer]
                preferred, reply = answer.result()
                with writing(ctx.engine) as session:
                    said.store(session, judge.key, [said.Said(first.id, second.id, preferred, reply)])
                known[first.id, second.id] = preferred
                progress.advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [
        "tie" if first.text == second.text else combined(known[first.id, second.id], known[second.id, first.id])
        for first, second in pairs
    ]


def judge_scores(
    ctx: Context, judge: str, candidates: Sequence[Candidate], of_prompts: Sequence[Prompt]
) -> dict[int, float]:
    """The judge's score of every candidate, by candidate id; only those not in the store are worked out."""
    with reading(ctx.engine) as session:
        values = scores.known(session, judge, [candidate.id for candidate in candidates])
    missing = list({candidate.id: candidate for candidate in candidates if candidate.id not in values}.values())
    if missing:
        fresh = _score(ctx, judge)(rows_of(missing, of_prompts))
        values |= (new := {c.id: value for c, value in zip(missing, fresh, strict=True)})
        with writing(ctx.engine) as session:
            scores.store(session, judge, new)
    return values


def optimised_against(ctx: Context, version: Version) -> set[str]:
    """The judges that the version, or a version it stands on, was optimised against: what they say of it is biased."""
    found: set[str] = set()
    with reading(ctx.engine) as session:
        link: Version | None = version
        while link is not None:
            config = runs.get(session, link.run_id).config if link.run_id is not None else {}
            found |= set(config.get("rewards", {}))
            if "reward" in config:
                found.add(config["reward"])
            link = versions.get(session, link.parent_id) if link.parent_id is not None else None
    return found


def exam_passed(ctx: Context, judge: str) -> bool | None:
    """Whether the reward model passed its newest exam; None for one that sat none, and for other judges."""
    if not judge.startswith("reward:"):
        return None
    with reading(ctx.engine) as session:
        version = versions.by_name(session, judge.removeprefix("reward:"))
        exam = runs.newest_finished(session, "exam", version.id)
    return None if exam is None or exam.summary is None else bool(exam.summary["passed"])


def _score(ctx: Context, judge: str) -> Score:
    kind, _, name = judge.partition(":")
    if kind == "taste":
        return taste(name)
    if kind == "rule":
        return rule(f"{name}=1").score
    with reading(ctx.engine) as session:
        version = versions.by_name(session, name)
    return ctx.reward_model(version).score
