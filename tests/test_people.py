"""Asking people which version is better: what is asked, when asking ends, and what the figures say."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console
from two_versions import two_versions

from db import (
    activity,
    annotators,
    audit,
    candidates,
    clock,
    comparisons,
    evaluations,
    judgments,
    notifications,
    prompts,
    queues,
    versions,
)
from db.activity import Speed
from db.engine import open_store, reading, writing
from db.evaluations import Asked, EvaluationVote
from db.judgments import Said
from db.tables import Candidate, Version
from pipeline import cli, people, plan, workspace
from pipeline.ask_people import Wanted, ask_people, settle, settle_all
from pipeline.compare import compare
from pipeline.context import Context
from pipeline.errors import PrefloopError

Prefloop = Callable[..., str]
PROMPTS = 40


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """A workspace with two versions whose answers to 40 held-out prompts are in the store: no model is needed."""
    monkeypatch.setenv("PREFLOOP_HOME", str(tmp_path))
    made = workspace.init(tmp_path)
    engine = open_store(made.store_url)
    ctx = Context(made, engine, Console(quiet=True), actor="mary")
    with writing(engine) as session:
        for number in range(PROMPTS):
            prompts.add(session, [{"role": "user", "content": f"question {number}"}], heldout_share=1.0)
        base = versions.ensure_base(session, "tiny", "0" * 64)
        versions.create(session, "policy", "v1", "tiny", "0" * 64, "v1", "1" * 64, base.id, None, None)
    answer(ctx)
    yield ctx
    engine.dispose()


def answer(ctx: Context) -> None:
    """Every version's answers to all held-out prompts, with the settings of the workspace."""
    settings = ctx.workspace.settings
    with writing(ctx.engine) as session:
        ids = [prompt.id for prompt in prompts.list_prompts(session, split="heldout")]
        for version in versions.list_versions(session):
            completions = [candidates.Completion(id_, 0, f"{version.name} {id_}", 4, "stop", -1.0) for id_ in ids]
            candidates.store(session, version.id, settings.sampling.model_dump(), settings.compare.seed, completions)


def pair(ctx: Context) -> tuple[Version, Version]:
    with reading(ctx.engine) as session:
        return versions.by_name(session, "v1"), versions.by_name(session, "v0")


def vote(ctx: Context, name: str, preferred: str, count: int, response_ms: int = 6_000) -> list[int]:
    """The person's next judgments, all for one version's answers."""
    made = []
    with writing(ctx.engine) as session:
        annotator_id = annotators.ensure(session, name, "human").id
    for _ in range(count):
        with writing(ctx.engine) as session:
            task = comparisons.next_assignment(session, annotator_id)
            assert task is not None
            said = Said("left" if task.texts[0].startswith(preferred) else "right", response_ms=response_ms)
            made.append(judgments.submit(session, task.assignment_id, annotator_id, said).judgment_id)
    return made


def test_people_are_asked_once_and_asking_ends_when_their_votes_decide(ctx: Context) -> None:
    a, b = pair(ctx)
    asked, standing = ask_people(ctx, a, b, Wanted(prompts=30))
    assert asked is not None
    assert (asked.asked, standing.evidence, standing.owed, standing.decided) == (30, None, 30, False)
    assert ask_people(ctx, a, b, Wanted(prompts=30))[0].asked == 0  # type: ignore[union-attr]
    with reading(ctx.engine) as session:  # people are told once
        (told,) = notifications.newest(session, notifications.Wanted(("webhook",), ("needs-labels",)))
    assert told.payload["text"] == "an evaluation of v1 and v0 waits for 30 judgments"
    vote(ctx, "ann", "v1", 2)
    early = settle(ctx, a, b)
    assert early.evidence is not None
    assert (early.evidence["verdict"], early.saved, early.owed) == ("undecided", 0, 28)
    vote(ctx, "ann", "v1", 20)
    (decided,) = settle_all(ctx)
    assert decided.evidence is not None
    assert (decided.a, decided.evidence["verdict"], decided.saved, decided.owed) == ("v1", "better", 8, 0)
    asked, again = ask_people(ctx, a, b, Wanted())
    assert (asked, again.saved, again.owed) == (None, 0, 0)
    assert settle_all(ctx) == []
    assert settle(ctx, b, a).evidence["verdict"] == "worse"  # type: ignore[index]
    with reading(ctx.engine) as session:
        (event,) = (event for event in audit.events(session, "version") if event.action == "close evaluation")
    assert (event.actor, event.details["verdict"], event.details["votes"]) == ("mary", "better", 22)


def test_what_was_ended_early_goes_on_when_the_votes_no_longer_suffice(ctx: Context) -> None:
    a, b = pair(ctx)
    ask_people(ctx, a, b, Wanted())
    vote(ctx, "ann", "v1", 3)
    vote(ctx, "bob", "v1", 20)
    assert settle(ctx, a, b).decided
    with writing(ctx.engine) as session:
        annotators.withdraw(session, annotators.ensure(session, "bob", "human").id)
    assert settle(ctx, a, b).owed == 0, "to ask again is for whoever compares"
    _, standing = ask_people(ctx, a, b, Wanted())
    assert (standing.decided, standing.owed) == (False, PROMPTS - 3)


def test_simulated_votes_decide_nothing_for_people(ctx: Context) -> None:
    a, b = pair(ctx)
    ask_people(ctx, a, b, Wanted(), "simulated")
    with writing(ctx.engine) as session:
        robot = annotators.ensure(session, "robot", "simulated", taste={"likes": "v1"}).id
        while (task := comparisons.next_assignment(session, robot)) is not None:
            said = Said("left" if task.texts[0].startswith("v1") else "right")
            judgments.submit(session, task.assignment_id, robot, said)
    simulated = settle(ctx, a, b, "simulated")
    assert (simulated.decided, simulated.saved) == (True, 0)
    people_ = settle(ctx, a, b)
    assert (people_.evidence, people_.owed) == (None, PROMPTS)


def test_answers_drawn_with_other_settings_are_another_comparison(ctx: Context) -> None:
    a, b = pair(ctx)
    ask_people(ctx, a, b, Wanted(prompts=30))
    vote(ctx, "ann", "v1", 5)
    cooler = ctx.workspace.settings.sampling.model_copy(update={"temperature": 0.1})
    settings = ctx.workspace.settings.model_copy(update={"sampling": cooler})
    answer(replace(ctx, workspace=replace(ctx.workspace, settings=settings)))
    ctx.workspace = replace(ctx.workspace, settings=settings)
    asked, standing = ask_people(ctx, a, b, Wanted(prompts=10))
    assert asked == Asked(asked=10, identical=0, known=0, changed=0, replaced=30)
    assert (standing.evidence, standing.owed) == (None, 10)
    vote(ctx, "ann", "v1", 10)
    assert settle(ctx, a, b).evidence["votes"] == 10  # type: ignore[index]


def said(outcomes: list[tuple[int, int | None, float]], judges: int = 1) -> list[EvaluationVote]:
    """Votes from (prompt, annotator, outcome)."""
    return [
        EvaluationVote(prompt, prompt, "", who, outcome, who == 2 and outcome == 0.5, judges, clock.now())
        for prompt, who, outcome in outcomes
    ]


def test_the_evidence_has_the_shape_of_a_judge_and_tells_ties_apart() -> None:
    found = people.evidence(said([(1, 1, 1.0), (2, 1, 1.0), (3, 2, 0.5), (4, 2, 0.0), (5, None, 0.5)]), 0.95)
    assert found is not None
    shared = ("comparisons", "prompts", "wins", "ties", "losses")
    assert [found[key] for key in shared] == [5, 5, 2, 2, 1]
    assert [found[key] for key in ("votes", "identical", "both_bad", "annotators", "waiting")] == [4, 1, 1, 2, 0]
    assert (found["rate"], found["verdict"]) == (0.6, "undecided")
    assert 0 <= found["low"] < found["rate"] < found["high"] <= 1
    assert people.evidence([], 0.95) is None


def test_a_prompt_counts_when_all_its_judges_have_voted() -> None:
    halves = [(prompt, 1, 1.0) for prompt in range(30)]
    waiting = people.evidence(said(halves, judges=2), 0.95)
    assert waiting is not None
    assert (waiting["waiting"], waiting["verdict"]) == (30, "undecided")
    whole = people.evidence(said([*halves, *((prompt, 2, 1.0) for prompt in range(30))], judges=2), 0.95)
    assert whole is not None
    assert (whole["waiting"], whole["judges"], whole["verdict"]) == (0, 2, "better")


def test_a_plan_is_honest_about_the_pace_and_about_what_cannot_be() -> None:
    known = plan.plan(0.65, 0.95, 0.8, 0.0, 50, Speed(11_000.0, 340, 3))
    assert known.judges == -(-known.judgments // 50)
    assert known.work == pytest.approx(known.judgments * 11 / 60)
    assert known.minutes == pytest.approx(known.judgments * 11 / 60 / 3)
    assert known.stopping is not None
    assert known.judgments < known.stopping.votes, "who looks after every vote pays for it in the worst case"
    nobody_now = plan.plan(0.65, 0.95, 0.8, 0.0, 0, Speed(11_000.0, 340, 0))
    assert (nobody_now.minutes, nobody_now.judges, nobody_now.work) == (None, None, known.work)
    for speed in (Speed(None, 0, 0), Speed(11_000.0, plan.FEWEST - 1, 2)):
        assert plan.plan(0.65, 0.95, 0.8, 0.0, 50, speed).pace is None
    assert plan.plan(0.51, 0.95, 0.8, 0.0, 50, Speed(None, 0, 0)).stopping is None
    for rate, ties in ((0.5, 0.0), (1.2, 0.0), (0.95, 0.5)):
        with pytest.raises(PrefloopError, match="win rate"):
            plan.plan(rate, 0.95, 0.8, ties, 50, Speed(None, 0, 0))


@pytest.fixture
def prefloop(ctx: Context, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Prefloop:
    def run(*arguments: str, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["prefloop", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert (ended.value.code or 0) == status, out + err
        return out + err

    return run


def test_the_commands_ask_people_and_plan(ctx: Context, prefloop: Prefloop) -> None:
    assert "no pace yet: 0 answers to pairs were timed" in prefloop("plan")
    with writing(ctx.engine) as session:
        queues.ensure(session, queues.DEFAULT, guidelines="The kinder one.")
    first = prefloop("compare", "v1", "v0", "--by", "people", "--prompts", "30")
    assert "30 pairs put into the queue evaluation" in first
    assert "no vote yet" in first
    with reading(ctx.engine) as session:
        evaluation, training = queues.list_queues(session)
    assert (evaluation.name, evaluation.priority, training.name) == (evaluations.DEFAULT, 1, queues.DEFAULT)
    assert evaluation.guidelines == "The kinder one."
    vote(ctx, "ann", "v1", 4)
    facts = json.loads(prefloop("compare", "v1", "v0", "--by", "people", "--priority", "-1", "--json"))
    assert facts["asked"] == {"asked": 10, "identical": 0, "known": 30, "changed": 0, "replaced": 0}
    assert (facts["evidence"]["votes"], facts["evidence"]["rate"], facts["owed"]) == (4, 1.0, 36)
    assert facts["pace"] is None
    vote(ctx, "ann", "v0", 3)
    vote(ctx, "bob", "v1", 3)
    facts = json.loads(prefloop("compare", "v1", "v0", "--by", "people", "--json"))
    assert facts["pace"] == {"seconds": 6.0, "measured": 10, "annotators": 2}
    assert facts["minutes"] == pytest.approx(facts["evidence"]["more"] * 6 / 60 / 2)
    assert "2 judges for each pair, but 1" in prefloop("compare", "v1", "v0", "--by=people", "--judges=2", status=1)
    with reading(ctx.engine) as session:
        assert queues.by_name(session, evaluations.DEFAULT).priority == -1
    assert "at 6 s an answer (median of 10)" in prefloop("plan", "--rate", "0.6")
    assert json.loads(prefloop("plan", "--rate", "0.6", "--json"))["prompts"] == PROMPTS
    vote(ctx, "ann", "v1", 30)
    assert "v1 is better" in prefloop("compare", "v1", "v0", "--by", "people", "--watch"), "nothing is left to watch"
    assert "use judges or people" in prefloop("compare", "v1", "v0", "--by", "magic", status=1)
    assert "v1 against itself" in prefloop("compare", "v1", "v1", "--by", "people", status=1)


def test_simulated_annotators_answer_an_evaluation_only_when_told(ctx: Context, prefloop: Prefloop) -> None:
    prefloop("compare", "v1", "v0", "--by", "people", "--prompts", "3")
    assert "0 simulated judgments" in prefloop("simulate")
    assert "3 simulated judgments" in prefloop("simulate", "--evaluation")
    told = json.loads(prefloop("compare", "v1", "v0", "--by", "people", "--annotators", "simulated", "--json"))
    assert told["annotators"] == "simulated"
    assert told["evidence"]["votes"] == 3


def test_speed_is_the_median_of_pairs_and_who_was_here_lately(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_people(ctx, *pair(ctx), Wanted(prompts=20))
    for name, response_ms, count in (("ann", 1_000, 2), ("bob", 4_000, 1), ("cleo", 9_000, 1)):
        vote(ctx, name, "v1", count, response_ms)
    since = clock.now() - timedelta(days=7)
    with reading(ctx.engine) as session:
        assert activity.speed(session, since) == Speed(2_500.0, 4, 3)
        assert activity.speed(session, clock.now() + timedelta(days=1)).active == 0
        assert activity.speed(session, since, "simulated") == Speed(None, 0, 0)
    with writing(ctx.engine) as session:
        annotators.disable(session, annotators.ensure(session, "ann", "human").id)
        annotators.withdraw(session, annotators.ensure(session, "cleo", "human").id)
    with reading(ctx.engine) as session:
        assert activity.speed(session, since) == Speed(1_000.0, 3, 1)


def test_a_reward_model_is_not_compared_by_people(ctx: Context) -> None:
    a, b = pair(ctx)
    with writing(ctx.engine) as session:
        reward = versions.create(session, "reward", "r1", "tiny", "0" * 64, "r1", "2" * 64, b.id, None, None)
    with pytest.raises(PrefloopError, match="r1 is a reward model"):
        ask_people(ctx, reward, a, Wanted())


def test_the_gate_reads_what_people_said(tmp_path: Path, tiny_base: Path) -> None:
    """With real models: completions are drawn, people vote on them, and the report and its gate have their evidence."""
    gate = '[gate]\njudges = ["people"]\nno_category_worse = false'
    ctx = two_versions(tmp_path / "ws", tiny_base, gate, imported=60)
    a, b = pair(ctx)
    _, before = compare(ctx, a, b, ["people", "rule:ended"])
    assert people.JUDGE not in before["judges"]
    assert "compare them with --by people" in str(before["gate"]["rules"])
    asked, _ = ask_people(ctx, a, b, Wanted())
    assert asked is not None
    with reading(ctx.engine) as session:
        ours = {each.text for each in session.query(Candidate).filter_by(version_id=a.id)}
    with writing(ctx.engine) as session:
        ann = annotators.ensure(session, "ann", "human").id
        while (task := comparisons.next_assignment(session, ann)) is not None:
            judgments.submit(session, task.assignment_id, ann, Said("left" if task.texts[0] in ours else "right"))
    run_id, report = compare(ctx, a, b, ["people", "rule:ended"])
    found = report["judges"][people.JUDGE]
    assert (found["votes"], found["identical"], found["losses"]) == (asked.asked, asked.identical, 0)
    assert report["gate"]["rules"][0] == {
        "rule": "better by people",
        "passed": True,
        "found": found["low"],
        "limit": 0.5,
        "words": report["gate"]["rules"][0]["words"],
    }
    assert compare(ctx, a, b, ["people", "rule:ended"])[0] == run_id, "the same votes are the same comparison"
    ctx.engine.dispose()
