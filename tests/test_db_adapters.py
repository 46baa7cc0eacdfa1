"""Which adapters must stay, with the reason, and the record of those that do not."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import adapters, audit, candidates, evaluations, prompts, queues, rounds, run_queue, runs, versions
from db.engine import writing
from db.errors import StoreError
from db.tables import Version
from db.words import VersionKind

Make = Callable[..., int]


@pytest.fixture
def make(engine: Engine) -> Make:
    """Makes a version by a run, whose config may be given, from a parent."""

    def make(session: Session, name: str, parent: str | None = None, **config: object) -> int:
        kind: VersionKind = "reward" if name[0] == "r" else "policy"
        parent_id = None if parent is None else versions.by_name(session, parent).id
        run = runs.start(session, "dpo", config, 0, "abc", name * 8)
        path, sha256 = f"runs/{run.id}/adapter", name[-1] * 64
        made = versions.create(session, kind, name, "tiny", "0" * 64, path, sha256, parent_id, run.id, None)
        runs.finish(session, run.id, {})
        return made.id

    return make


def kept(session: Session, newest: int = 1) -> dict[str, str]:
    names = {version.id: version.name for version in versions.list_versions(session)}
    return {names[version_id]: why for version_id, why in adapters.kept(session, newest).items()}


def test_what_was_promoted_its_origins_and_the_newest_stay(engine: Engine, make: Make) -> None:
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        for name in ("r1", "r2", "r3"):
            make(session, name)
        make(session, "v1")
        make(session, "v2", "v1", reward="reward:r2", second_judge="reward:r1")
        make(session, "v3", "v2")
        make(session, "v4", "v1")
        make(session, "v5")
        versions.promote(session, base.id, None, {}, "ann")
        for name in ("v2", "v3"):
            versions.promote(session, versions.by_name(session, name).id, None, {}, "ann")
        versions.rollback(session, "ann")
        assert kept(session) == {
            "v0": "was promoted",
            "v1": "v2 was made from it",
            "v2": "is current",
            "v3": "was promoted",
            "v5": "is one of the newest 1",
            "r2": "v2 was made from it",
            "r3": "is one of the newest 1",
        }
        assert {"v4", "r1"} & set(kept(session, newest=3)) == {"v4", "r1"}


def test_what_runs_rounds_and_evaluations_still_need_stays(engine: Engine, make: Make) -> None:
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        made = [make(session, f"v{number}") for number in range(1, 7)]
        resolved = {"resolved": {"start": "v1", "against": "v2"}, "recipe": {"name": "n"}}
        order = run_queue.enqueue(session, resolved, "ann")
        assert order is not None
        run_queue.record_stage(session, order.id, "dpo", {"version": "v3"})
        assert kept(session)["v1"] == kept(session)["v3"] == f"run {order.id} is queued"
        run_queue.cancel(session, order.id, "ann")
        assert kept(session)["v2"] == f"`runs retry --same {order.id}` goes on with it"
        under_way = rounds.ensure(session, "main", 1, made[3], {})
        assert kept(session)["v4"] == "round 1 of loop main is under way"
        rounds.finish(session, under_way.id, {})
        assert "v4" not in kept(session)
        prompt = prompts.add(session, [{"role": "user", "content": "x"}], heldout_share=0.999).id
        for version_id in (base.id, made[4]):
            answer = candidates.Completion(prompt, 0, f"of {version_id}", 4, "stop", -1.5)
            candidates.store(session, version_id, {}, 0, [answer])
        queue = queues.ensure(session, "evaluation", "pair").id
        ours, theirs = (candidates.of_version(session, v, {}, 0, [prompt]) for v in (made[4], base.id))
        assert "v5" not in kept(session)
        evaluations.ask(session, queue, ours, theirs)
        assert kept(session)["v5"] == "people are asked about it"


def test_a_removal_is_recorded_once_and_never_of_what_is_needed_by_then(engine: Engine, make: Make) -> None:
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        versions.promote(session, base.id, None, {}, "ann")
        first, second, _ = (make(session, name) for name in ("v1", "v2", "v3"))
        versions.promote(session, second, None, {}, "ann")
        assert adapters.mark_removed(session, [first, second], 1, "ann") == [first]
        assert adapters.mark_removed(session, [first, second], 1, "ann") == []
        assert [event.noun_id for event in audit.events(session, "version") if event.action == "remove adapter"] == [
            first
        ]
        with pytest.raises(StoreError, match=r"the adapter of v1 was removed on \d{4}-\d\d-\d\d .*promote another"):
            versions.promote(session, first, None, {}, "ann", forced=True, reason="please")
    with pytest.raises(IntegrityError), writing(engine) as session:
        bare = session.get_one(Version, base.id)
        bare.adapter_removed_at = bare.created_at
