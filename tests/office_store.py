"""A store in which much has happened: people and simulated annotators, every kind of queue, hidden questions,
snapshots, versions that learned from them, and texts that would do harm if anything rendered them.

The clock runs from two days ago to now, so that pages about time have something to show.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest import mock

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import (
    annotators,
    candidates,
    comparisons,
    judgments,
    prompts,
    queues,
    rounds,
    runs,
    snapshots,
    versions,
)
from db.engine import open_store, writing
from db.judgments import Said
from db.prompts import PromptItem
from db.tables import Version
from db.tasks import AssignedTask

EVIL = (
    '<img src="http://evil.example.invalid/a.png" onerror="alert(1)"> ![x](http://evil.example.invalid/b.png) '
    "[link](javascript:alert(1)) <script>alert(2)</script> :red[**bold**] $\\frac{1}{2}$ \u202egnirts\u200b \x1b[31m"
)
EVIL_NAME = '<img src="http://evil.example.invalid/n.png">'
_OPENINGS = (
    "Of course.",
    "It depends on what you have at hand.",
    "Here is a short answer.",
    "Let us take it in steps.",
)
_BODIES = (
    "Start with what you know, and add one thing at a time, so that you can see what each of them changes.",
    "Most people do it the other way round, which takes longer and is harder to undo when something goes wrong.",
    "Write down the three things that matter most to you. Whatever does not serve one of them can wait.",
    "The usual advice is sound here: keep it simple, check it twice, and ask somebody who has done it before.",
    "There are two ways. The first is quick and a little careless; the second takes an afternoon and lasts for years.",
)
_QUESTIONS = ("How do I", "What is the best way to", "Why is it hard to", "Can you explain how to")
_TOPICS = (
    "keep bread fresh", "write a letter of thanks", "learn the names of trees", "mend a bicycle tyre",
    "plan a small party", "read a map", "choose a present for a teacher", "start to run", "sleep better",
    "explain rain to a child",
)  # fmt: skip
_CHANCES = {"helpfulness": 7, "best of four": 1, "clear and kind": 1, "quick check": 0.5, EVIL_NAME: 0.5}
_CATEGORIES = ("everyday", "explain", "writing")


def seed(url: str, comparisons_wanted: int = 200, rng_seed: int = 0) -> Engine:
    """The store at the URL, filled. Known names: ada (admin), dora (manager), ben, cleo and EVIL_NAME (annotators)."""
    engine = open_store(url)
    rng = random.Random(rng_seed)
    with clock() as tick:
        base = _prompts_and_candidates(engine, comparisons_wanted, rng)
        people = _people(engine)
        _queues(engine, base)
        _label(engine, people, rng, tick)
        _learn(engine, base)
        _withdraw_and_disable(engine)
    return engine


class Tick:
    """A clock that moves when it is told to, and a little whenever it is read."""

    def __init__(self, start: datetime) -> None:
        self.now = start

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=20)
        return self.now


@contextmanager
def clock() -> Iterator[Tick]:
    tick = Tick(datetime.now(UTC) - timedelta(days=2, hours=3))
    with mock.patch("db.clock.now", tick):
        yield tick


def _prompts_and_candidates(engine: Engine, count: int, rng: random.Random) -> int:
    with writing(engine) as session:
        items = [
            PromptItem(
                [{"role": "user", "content": f"{rng.choice(_QUESTIONS)} {rng.choice(_TOPICS)} ({number})?"}],
                _CATEGORIES[number % 3],
                "everyday.jsonl",
            )
            for number in range(count * 4 // 3 + 12)
        ]
        turns = [
            {"role": "system", "content": "Answer kindly."}, {"role": "user", "content": f"Hello {EVIL}"},
            {"role": "assistant", "content": "Good day!"}, {"role": "user", "content": f"Tell me more {EVIL}"},
        ]  # fmt: skip
        prompts.add_many(session, [PromptItem(turns, EVIL, EVIL_NAME), *items], heldout_share=0.2)
        base = versions.ensure_base(session, "SmolLM2-135M-Instruct", "0" * 64)
        for prompt in prompts.list_prompts(session):
            texts = [f"{rng.choice(_OPENINGS)} {' '.join(rng.sample(_BODIES, rng.randint(1, 4)))}" for _ in range(4)]
            if len(prompt.messages) > 1:
                texts = [f"{EVIL} {number}" for number in range(4)]
            completions = [
                candidates.Completion(prompt.id, index, text, len(text) // 4, "stop", -20.0)
                for index, text in enumerate(texts)
            ]
            candidates.store(session, base.id, {"temperature": 0.8}, 0, completions)
        return base.id


def _people(engine: Engine) -> dict[str, int]:
    with writing(engine) as session:
        people = {name: annotators.ensure(session, name, "human").id for name in ("ben", "cleo", EVIL_NAME, "finn")}
        people["ada"] = annotators.ensure(session, "ada", "human", role="admin").id
        people["dora"] = annotators.ensure(session, "dora", "human", role="manager").id
        for taste in ("concise", "warm"):
            name = f"taste:{taste}"
            people[name] = annotators.ensure(session, name, "simulated", taste={"taste": taste}).id
        return people


def _queues(engine: Engine, base: int) -> None:
    with writing(engine) as session:
        make = {
            "helpfulness": ("pair", 150, {"overlap": 2, "priority": 10, "repeat_share": 0.1, "gold_share": 0.1,
                                          "asks_strength": True, "guidelines": f"Prefer the truthful one. {EVIL}"}),
            "best of four": ("ranking", 25, {"overlap": 2, "priority": 5}),
            "clear and kind": ("rating", 20, {"aspects": ["clear", "kind"], "overlap": 2}),
            "quick check": ("thumbs", 20, {}),
            EVIL_NAME: ("edit", 15, {}),
            "write it yourself": ("demonstration", 10, {"priority": -5}),
        }  # fmt: skip
        for name, (kind, limit, options) in make.items():
            queue = queues.create(session, name, kind, **options, actor="ada")  # type: ignore[arg-type]
            queues.fill(session, queue.id, version_id=base, limit=limit, actor="ada")
        queues.pause(session, queues.by_name(session, "write it yourself").id, "ada")
        loop_round = rounds.ensure(session, "main", 1, base, {})
        asked = session.query(comparisons.Comparison).order_by(comparisons.Comparison.id)
        for comparison in asked.limit(60):
            comparison.round_id = loop_round.id
        for comparison in asked.limit(8):
            comparisons.make_gold(session, comparison.id, _best(session, comparison.id), "dora")


def _best(session: Session, comparison_id: int) -> int:
    """What most would prefer: the shorter one."""
    return min(comparisons.candidates_of(session, comparison_id), key=lambda each: (len(each.text), each.id)).id


def _label(engine: Engine, people: dict[str, int], rng: random.Random, tick: Tick) -> None:
    """Three sittings of several people; simulated annotators in between; one task is left under way."""
    sittings = [
        (0, ["ben", "cleo"], 60),
        (22, ["ben", EVIL_NAME, "finn"], 50),
        (46, ["cleo", "ben", "taste:concise"], 50),
    ]
    start = tick.now
    for hours, names, count in sittings:
        tick.now = start + timedelta(hours=hours)
        for number in range(count):
            for name in names:
                tick.now += timedelta(seconds=rng.uniform(8, 40))
                _answer(engine, people[name], rng, name, number)
    with writing(engine) as session:
        comparisons.next_assignment(session, people["dora"])
    tick.now = max(tick.now, datetime.now(UTC) - timedelta(minutes=1))
    with writing(engine) as session:
        comparisons.next_assignment(session, people["cleo"])


def _answer(engine: Engine, annotator_id: int, rng: random.Random, name: str, number: int) -> None:
    with writing(engine) as session:
        queue = rng.choices(list(_CHANCES), list(_CHANCES.values()))[0]
        task = comparisons.next_assignment(session, annotator_id, queue_id=queues.by_name(session, queue).id)
    if task is None:
        return
    with writing(engine) as session:
        said = _say(session, task, rng, careful=0.97 if name == "ben" else 0.8)
        receipt = judgments.submit(session, task.assignment_id, annotator_id, said)
        if number % 17 == 3 and task.kind == "pair" and said.choice != "tie":
            judgments.correct(session, receipt.judgment_id, annotator_id, Said("tie", rationale="on second thought"))


def _say(session: Session, task: AssignedTask, rng: random.Random, careful: float) -> Said:
    ms = round(rng.lognormvariate(9.2, 0.4))
    if rng.random() < 0.03:
        return Said("skip", reason=f"I do not know this. {EVIL}", response_ms=ms)
    if rng.random() < 0.02:
        return Said("flag", reason="broken_prompt", rationale=EVIL, response_ms=ms)
    why = rng.choice(["", "", "", "shorter", "kinder", EVIL])
    order = sorted(task.candidate_ids, key=lambda id_: len(task.texts[task.candidate_ids.index(id_)]))
    if rng.random() > careful:
        rng.shuffle(order)
    match task.kind:
        case "pair":
            if rng.random() < 0.08:
                return Said(rng.choice(["tie", "both_bad", "identical"]), rationale=why, response_ms=ms)  # type: ignore[arg-type]
            side = "left" if task.candidate_ids[0] == order[0] else "right"
            strength = rng.randint(1, 3) if task.asks_strength else None
            return Said(side, strength=strength, rationale=why, response_ms=ms)  # type: ignore[arg-type]
        case "ranking":
            return Said("ranked", ranking=[order[:1], order[1:2], order[2:]], rationale=why, response_ms=ms)
        case "rating":
            return Said("rated", ratings=_ratings(task, rng), response_ms=ms)
        case "thumbs":
            return Said(rng.choice(["up", "down"]), response_ms=ms)  # type: ignore[arg-type]
    return Said("written", written=f"I would say it so. {EVIL}", response_ms=ms)


def _ratings(task: AssignedTask, rng: random.Random) -> dict[str, int]:
    """Shorter is clearer, and people are off by one now and then."""
    stars = 5 - min(3, len(task.texts[0]) // 120)
    return {aspect: max(1, min(5, stars + rng.choice([-1, 0, 0, 0, 1]))) for aspect in task.aspects or []}


def _learn(engine: Engine, base_id: int) -> None:
    """v1 and r1 from all that people said, v2 after v1 from the newer half; v1 is current."""
    with writing(engine) as session:
        base = versions.get(session, base_id)
        human = [row.judgment_id for row in judgments.current(session, "human")]
        first = snapshots.store(session, "a" * 64, human[: len(human) // 2], {}, {}, 60, "ada").id
        second = snapshots.store(session, "b" * 64, human[len(human) // 2 :], {}, {}, 70, "ada").id
        v1 = _train(session, "policy", "v1", "dpo", first, base)
        _train(session, "reward", "r1", "reward", first, base)
        _train(session, "policy", "v2", "dpo", second, v1)
        versions.promote(session, v1.id, None, {}, "ada")


def _train(session: Session, kind: str, name: str, stage: str, snapshot_id: int, parent: Version) -> Version:
    run = runs.start(session, stage, {}, 0, "code", name.ljust(64, "f"), snapshot_id=snapshot_id, version_id=parent.id)
    runs.finish(session, run.id, {})
    return versions.create(
        session, kind, name, parent.base_model, parent.base_sha256, f"{name}/adapter", name.ljust(64, "1"),  # type: ignore[arg-type]
        parent.id, run.id, snapshot_id,
    )  # fmt: skip


def _withdraw_and_disable(engine: Engine) -> None:
    with writing(engine) as session:
        annotators.disable(session, annotators.by_name(session, EVIL_NAME).id, "ada")
        prompts.retire(session, prompts.list_prompts(session)[0].id, "dora")
