"""Evaluations: which judgments are votes between two versions, and when people are asked for more."""

from collections.abc import Sequence

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import annotators, audit, candidates, comparisons, evaluations, judgments, prompts, queues, versions
from db.engine import reading, writing
from db.errors import StoreError
from db.evaluations import Asked
from db.judgments import Said
from db.tables import Candidate, Comparison
from db.words import Choice
from labeling_ui.asking import question
from pipeline.errors import PrefloopError
from pipeline.pairs import RowPolicy

SAMPLING = {"temperature": 1.0}


class World:
    """Three versions, and what they answered to held-out prompts. `same` of the answers of v0 and v1 are equal."""

    def __init__(self, session: Session, count: int = 4, same: int = 0) -> None:
        self.session = session
        base = versions.ensure_base(session, "tiny", "0" * 64)
        self.ids = [base.id]
        for name in ("v1", "v2"):
            made = versions.create(session, "policy", name, "tiny", "0" * 64, name, name[-1] * 64, base.id, None, None)
            self.ids.append(made.id)
        self.prompts = [
            prompts.add(
                session,
                [{"role": "user", "content": f"question {number}"}],
                "art" if number % 2 else "",
                heldout_share=1.0,
            ).id
            for number in range(count)
        ]
        self.queue = queues.ensure(session, evaluations.DEFAULT).id
        for place, version_id in enumerate(self.ids):
            texts = ["the same" if n < same and place < 2 else f"{place}: answer {n}" for n in range(count)]
            completions = [
                candidates.Completion(prompt_id, 0, text, 4, "stop", -1.0)
                for prompt_id, text in zip(self.prompts, texts, strict=True)
            ]
            candidates.store(session, version_id, SAMPLING, 0, completions)

    def answers(self, place: int) -> list[Candidate]:
        return candidates.of_version(self.session, self.ids[place], SAMPLING, 0, self.prompts)

    def ask(self, a: int = 1, b: int = 0, judges: int | None = 1) -> Asked:
        return evaluations.ask(self.session, self.queue, self.answers(a), self.answers(b), judges)

    def person(self, name: str) -> int:
        return annotators.ensure(self.session, name, "human").id

    def say(self, annotator_id: int, choices: Sequence[Choice | int]) -> list[int]:
        """The ids of the annotator's next judgments; a number is the place of the version whose answer they prefer."""
        made = []
        for choice in choices:
            task = comparisons.next_assignment(self.session, annotator_id)
            assert task is not None
            if isinstance(choice, int):
                choice = "left" if task.texts[0].startswith(f"{choice}:") else "right"
            said = Said(choice, reason="unsafe" if choice == "flag" else None)
            made.append(judgments.submit(self.session, task.assignment_id, annotator_id, said).judgment_id)
        return made

    def outcomes(self, a: int = 1, b: int = 0) -> list[float]:
        return [vote.outcome for vote in evaluations.votes(self.session, self.ids[a], self.ids[b])]


def test_votes_are_told_for_the_version_asked_about_first_wherever_it_stood(engine: Engine) -> None:
    with writing(engine) as session:
        world = World(session, 6)
        assert world.ask() == Asked(asked=6, identical=0, known=0, changed=0, replaced=0)
        ann = world.person("ann")
        world.say(ann, [1, 1, 0, "tie", "both_bad", "identical"])
        found = evaluations.votes(session, world.ids[1], world.ids[0])
        assert [vote.outcome for vote in found] == [1, 1, 0, 0.5, 0.5, 0.5]
        assert [vote.both_bad for vote in found] == [False] * 4 + [True, False]
        assert {vote.annotator_id for vote in found} == {ann}
        assert {vote.prompt_id for vote in found} == set(world.prompts)
        assert {vote.category for vote in found} == {"", "art"}
        assert world.outcomes(0, 1) == [0, 0, 1, 0.5, 0.5, 0.5]
        assert world.outcomes(2, 0) == []
        asked_in_order = [session.get_one(Comparison, vote.comparison_id).rank for vote in found]
        assert asked_in_order == sorted(asked_in_order), "not in the order of the prompts' hashes"


def test_an_evaluation_looks_like_any_other_question_and_its_sides_are_shuffled(engine: Engine) -> None:
    with writing(engine) as session:
        world = World(session, 12)
        world.ask()
        pair = [world.answers(place)[0].id for place in (0, 1)]
        training = queues.ensure(session, queues.DEFAULT, priority=1).id
        comparisons.create(session, training, world.prompts[0], pair)
        ann = world.person("ann")
        seen, sides = [], []
        while (task := comparisons.next_assignment(session, ann)) is not None:
            seen.append(question(task, None, "plain", whole=False))
            sides.append(task.texts[0].startswith("1:"))
            judgments.submit(session, task.assignment_id, ann, Said("tie"))
    of_training, *of_evaluation = seen
    assert len(of_evaluation) == 12
    for shown in of_evaluation:
        assert shown.keys() == of_training.keys()
        differing = {key for key in shown if shown[key] != of_training[key]}
        assert differing <= {"key", "assignment_id", "turns", "texts"}
    assert len(set(sides[1:])) == 2, "always the same version on the left"


def test_what_does_not_count_today_is_no_vote(engine: Engine) -> None:
    with writing(engine) as session:
        world = World(session, 3)
        world.ask(judges=4)
        ann, bob, cleo = (world.person(name) for name in ("ann", "bob", "cleo"))
        first, *_ = world.say(ann, [1, "skip", "flag"])
        world.say(bob, [1])
        world.say(cleo, [1])
        robot = annotators.ensure(session, "robot", "simulated", taste={"likes": "short"}).id
        world.say(robot, [0])
        assert world.outcomes() == [1, 1, 1]
        assert [v.outcome for v in evaluations.votes(session, world.ids[1], world.ids[0], kind="simulated")] == [0]
        annotators.withdraw(session, cleo)
        judgments.correct(session, first, ann, Said("tie"))
        assert world.outcomes() == [1, 0.5]
        elsewhere = evaluations.votes(session, world.ids[1], world.ids[0], sampling={"temperature": 0.1})
        assert elsewhere == [], "answers drawn with other settings are another question"
        assert len(evaluations.votes(session, world.ids[1], world.ids[0], sampling=SAMPLING)) == 2


def test_equal_texts_are_ties_that_nobody_is_asked_about(engine: Engine) -> None:
    with writing(engine) as session:
        world = World(session, 4, same=3)
        assert world.ask(judges=2) == Asked(asked=1, identical=3, known=0, changed=0, replaced=0)
        assert evaluations.open_count(session, world.ids[1], world.ids[0]) == 2
        ann = world.person("ann")
        world.say(ann, [1])
        assert comparisons.next_assignment(session, ann) is None
        assert sorted(world.outcomes()) == [0.5] * 6 + [1]
        found = evaluations.votes(session, world.ids[1], world.ids[0])
        assert [vote.annotator_id for vote in found] == [None] * 6 + [ann]
        matrix = evaluations.matrix(session)
        assert (matrix.names, matrix.wins) == (["v0", "v1"], [[0, 3], [4, 0]])


def test_a_tie_of_equal_texts_counts_when_the_asking_has_come_past_it(engine: Engine) -> None:
    """All of them at once, before any vote, would look like certainty that the rate is one half."""
    with writing(engine) as session:
        world = World(session, 12, same=6)
        world.ask()
        ranks = {each.id: each.rank for each in session.query(Comparison)}
        asked = sorted(each.rank for each in session.query(Comparison) if each.closed_at is None)
        equal = sorted(set(ranks.values()) - set(asked))
        assert asked[0] < equal[-1], "nothing to see"
        assert len(world.outcomes()) == sum(rank > asked[-1] for rank in equal)
        world.say(world.person("ann"), [1, 1, 1])
        told = evaluations.votes(session, world.ids[1], world.ids[0])
        past = [rank for rank in equal if rank < asked[2] or rank > asked[-1]]
        assert sorted(ranks[vote.comparison_id] for vote in told if vote.annotator_id is None) == past
        between = [ranks[vote.comparison_id] for vote in told if ranks[vote.comparison_id] <= asked[-1]]
        assert between == sorted(between)
        world.say(world.person("ann"), [1, 1, 1])
        assert len(world.outcomes()) == 12


def test_asking_twice_asks_only_what_is_missing(engine: Engine) -> None:
    with writing(engine) as session:
        world = World(session, 4)
        two = world.answers(1)[:2], world.answers(0)[:2]
        assert evaluations.ask(session, world.queue, *two).asked == 2
        assert world.ask() == Asked(asked=2, identical=0, known=2, changed=0, replaced=0)
        turned = world.ask(a=0, b=1)
        assert turned == Asked(asked=0, identical=0, known=4, changed=0, replaced=0), "the same question"
        assert [event.action for event in audit.events(session, "queue", world.queue)][:3] == [
            "ask evaluation",
            "ask evaluation",
            "create",
        ]


def test_the_number_of_judges_is_fixed_with_the_first_judgment(engine: Engine) -> None:
    with writing(engine) as session:
        world = World(session, 4, same=1)
        between = world.ids[1], world.ids[0]
        two = world.answers(1)[:2], world.answers(0)[:2]
        queues.update(session, world.queue, overlap=2)
        world.ask(judges=None)
        assert evaluations.open_count(session, *between) == 6
        assert world.ask(judges=5).changed == 4
        assert evaluations.ask(session, world.queue, *two, judges=3).changed == 4, "the same for all of its pairs"
        assert evaluations.open_count(session, *between) == 9
        world.say(world.person("ann"), ["skip"])
        assert world.ask(judges=None) == world.ask(judges=3) == Asked(0, 0, known=4, changed=0, replaced=0)
        with pytest.raises(StoreError, match="2 judges for each pair, but 3 were wanted when the first judgment"):
            world.ask(judges=2)
        assert {vote.judges for vote in evaluations.votes(session, *between)} <= {3}
        assert evaluations.open_count(session, *between) == 8


def test_closing_asks_nobody_else_keeps_what_is_under_way_and_can_be_undone(engine: Engine) -> None:
    with writing(engine) as session:
        world = World(session, 4, same=1)
        world.ask()
        world.ask(a=2)
        ann, bob = world.person("ann"), world.person("bob")
        under_way = comparisons.next_assignment(session, ann, queue_id=world.queue)
        assert under_way is not None
        pair = {candidate.version_id for candidate in comparisons.candidates_of(session, under_way.comparison_id)}
        a, b = sorted(pair, reverse=True)
        owed = evaluations.open_count(session, a, b)
        assert evaluations.close(session, a, b, {"verdict": "better"}, "mary") == owed
        assert evaluations.close(session, a, b, {"verdict": "better"}) == 0
        (event,) = (event for event in audit.events(session, "version", a) if event.action == "close evaluation")
        assert (event.actor, event.details["verdict"], event.details["saved"]) == ("mary", "better", owed)
        assert evaluations.open_count(session, a, b) == 0
        judgments.submit(session, under_way.assignment_id, ann, Said("tie"))
        assert [v.outcome for v in evaluations.votes(session, a, b) if v.annotator_id] == [0.5]
        (other,) = evaluations.open_between(session)
        assert other != (b, a)
        while (task := comparisons.next_assignment(session, bob)) is not None:
            asked = {candidate.version_id for candidate in comparisons.candidates_of(session, task.comparison_id)}
            assert asked == set(other)
            judgments.submit(session, task.assignment_id, bob, Said("tie"))
        assert evaluations.reopen(session, a, b) == owed, "equal texts stay closed"
        assert evaluations.reopen(session, a, b) == 0
        assert evaluations.open_count(session, a, b) == owed - 1


def test_the_matrix_holds_every_vote_once(engine: Engine) -> None:
    with writing(engine) as session:
        world = World(session, 3)
        assert evaluations.matrix(session).wins == []
        ann = world.person("ann")
        world.ask()
        world.say(ann, [1, 1, "tie"])
        world.ask(a=0, b=2)
        world.say(ann, [2, 0, "both_bad"])
        matrix = evaluations.matrix(session)
        assert (matrix.version_ids, matrix.names) == (world.ids, ["v0", "v1", "v2"])
        assert matrix.wins == [[0, 0.5, 1.5], [2.5, 0, 0], [1.5, 0, 0]]
        assert evaluations.matrix(session, "simulated").wins == []


def test_only_answers_that_belong_together_are_compared(engine: Engine) -> None:
    with writing(engine) as session:
        world = World(session, 2)
        ours, theirs = world.answers(1), world.answers(0)
        for a, b, why in (
            (ours, ours, "between the answers of two versions"),
            ([], [], "between the answers of two versions"),
            (ours, theirs[:1], "do not answer the same prompts"),
            (ours[::-1], theirs, "do not answer the same prompts"),
        ):
            with pytest.raises(StoreError, match=why):
                evaluations.ask(session, world.queue, a, b)
        with pytest.raises(StoreError, match="0 judges for each pair"):
            world.ask(judges=0)
        assert session.query(Comparison).count() == 0
        prompt_id = prompts.add(session, [{"role": "user", "content": "taught"}], heldout_share=0.0).id
        for version_id in world.ids[:2]:
            completion = candidates.Completion(prompt_id, 0, f"of {version_id}", 4, "stop", -1.0)
            candidates.store(session, version_id, SAMPLING, 0, [completion])
        pair = [candidates.of_version(session, version_id, SAMPLING, 0, [prompt_id]) for version_id in world.ids[:2]]
        with pytest.raises(StoreError, match=f"prompt {prompt_id} is of the split train"):
            evaluations.ask(session, world.queue, *pair)


def test_training_reads_no_vote(engine: Engine) -> None:
    with writing(engine) as session:
        world = World(session, 3)
        world.ask()
        world.say(world.person("ann"), [1, 1, 0])
    with reading(engine) as session:
        for shape in ("pairs", "demonstrations", "thumbs"):
            assert judgments.current(session, purposes=RowPolicy(shape=shape).purposes) == []
        assert len(judgments.current(session, purposes=["evaluate"])) == 3
    with pytest.raises(PrefloopError, match="never trained on; leave out evaluate"):
        RowPolicy(purposes=("train", "evaluate"))
